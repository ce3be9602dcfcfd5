"""What to type where native code ended its process: the library, its version, and what does without it."""

from __future__ import annotations

import signal
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

from whisper_peft.diagnostics.checks import Attempt

_TORCH_INDEX = "https://download.pytorch.org/whl"
"""Where builds of torch lie whose version names one, such as 2.13.0+cpu."""


def remedy(attempt: Attempt, exit_code: int | None) -> str:
    """Return what to do about a library whose native code ended the process that tried it.

    Args:
        attempt: What was tried, with its library.
        exit_code: Of the process, the negated signal where one ended it; None for one that hung.

    Example:
        >>> remedy(Attempt(lambda: "", "", "no-such-library"), None)
        'pip install no-such-library'
        >>> remedy(Attempt(lambda: "", "", "torch"), -signal.SIGKILL)
        'the system ended it, mostly for want of memory: end other programs and try again'
    """
    library, instead = attempt.library, attempt.instead
    if exit_code == -signal.SIGKILL:
        return "the system ended it, mostly for want of memory: end other programs and try again"
    try:
        found = version(library)
    except PackageNotFoundError:
        return f"pip install {library}"
    if exit_code == -signal.SIGILL:
        older = f"pip install '{library}<{Version(found).public}'"
        todo = f"{library} {found} is built for other processors: {older}"
    else:
        todo = f"{library} {found} is damaged or does not suit this machine: {_again(library, found)}"
    return f"{todo}; until that works, {instead}" if instead else todo


def _again(library: str, found: str) -> str:
    """Return the command that installs the same build anew; a build of torch has its own index."""
    build = Version(found).local
    index = f" --index-url {_TORCH_INDEX}/{build}" if library == "torch" and build else ""
    return f"pip install --force-reinstall --no-deps --no-cache-dir {library}=={found}{index}"
