"""Attempts in a process of their own: a crash of native code there is only one more finding.

`python -m whisper_peft.diagnostics.apart GROUP NAME ...` tries things, a line of JSON for each.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from whisper_peft.diagnostics.checks import Attempt, Check
from whisper_peft.diagnostics.remedies import remedy

TIMEOUT_S = 60.0
"""What a group may take, its imports from a slow disk among it."""

_QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONFAULTHANDLER": "1",
}


def try_apart(group: str, attempts: Mapping[str, Attempt], *, timeout_s: float = TIMEOUT_S) -> list[Check]:
    """Try things of a group in another process, and after a crash the rest in one more.

    Args:
        group: A module beside this one, such as `codecs`.
        attempts: Its `ATTEMPTS`.
        timeout_s: What each process may take.
    """
    checks: list[Check] = []
    names = list(attempts)
    while len(checks) < len(names):
        done, code, ended = _run(group, names[len(checks) :], timeout_s)
        checks += done
        if len(checks) < len(names):
            name = names[len(checks)]
            checks.append(Check(name, False, ended, remedy(attempts[name], code)))
    return checks


def _run(group: str, names: Sequence[str], timeout_s: float) -> tuple[list[Check], int | None, str]:
    """Return the checks that a process finished, its exit code (None for one that hung), and how it ended."""
    command = [sys.executable, "-m", "whisper_peft.diagnostics.apart", group, *names]
    process = subprocess.Popen(
        command,
        env=os.environ | _QUIET,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it started can be stopped with it
    )
    try:
        written, said = process.communicate(timeout=timeout_s)
        code, ended = process.returncode, _ending(process.returncode, said)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        written, _ = process.communicate()
        code, ended = None, f"no answer within {timeout_s:.0f} s"
    lines = [line for line in written.splitlines() if line.startswith('{"name"')]
    return [Check(**json.loads(line)) for line in lines], code, ended


def _ending(code: int, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    place = next((line for line in lines if line.startswith("File ")), "")
    if code < 0:
        return f"crashed ({signal.Signals(-code).name}) {place}".strip()
    return lines[-1] if lines else f"ended with exit code {code}"


def main(words: Sequence[str]) -> None:
    """Try things of a group and write down each at once."""
    group, *names = words
    attempts = importlib.import_module(f"whisper_peft.diagnostics.{group}").ATTEMPTS
    for name in names:
        print(json.dumps(asdict(attempts[name].check(name))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # native threads may crash while the interpreter takes itself apart
