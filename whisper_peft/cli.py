"""The command line: a verb for each public function, and the same flags for every recipe script.

Exit codes: 0 fine, 2 the user's to mend (one message, no traceback), 1 a bug (a traceback), 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import whisper_peft
from whisper_peft.commands import INTERRUPTED, STUDIES, VERBS, Study
from whisper_peft.errors import RecipeError, WhisperPeftError, did_you_mean
from whisper_peft.recipe.sections import Recipe
from whisper_peft.terminal import tell


def main(
    recipe: Recipe | None = None, args: Sequence[str] | None = None, *, study: Study = "finetune"
) -> None:
    """Run the command line, or one recipe's own: what every recipe script ends with.

    Args:
        recipe: The script's recipe; its fields are the flags. None: the verbs of `whisper-peft`.
        args: The words typed. None: those of this process.
        study: What the script does with its recipe: finetune, learning-curve, search or pseudo-label.

    Raises:
        SystemExit: With 2 after a user's error, with 130 after Ctrl-C.

    Example:
        >>> main(args=["--version"])
        whisper-peft ...
    """
    words = list(sys.argv[1:] if args is None else args)
    with _reader_may_leave():
        try:
            if recipe is None:
                _run_verb(words)
            else:
                STUDIES[study](recipe, words)
        except WhisperPeftError as error:
            tell(f"error: {error}")
            raise SystemExit(2) from None
        except KeyboardInterrupt as stop:
            tell(str(stop) or "stopped by Ctrl-C")
            raise SystemExit(INTERRUPTED) from None


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End quietly where nobody reads what is printed any more (`| head`)."""
    try:
        with suppress(BrokenPipeError):
            yield
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # Python would complain of what is still buffered when it closes stdout
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_verb(words: list[str]) -> None:
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("--help", "-h"):
        print(_overview())
    elif verb == "--version":
        print(f"whisper-peft {whisper_peft.__version__}")
    elif verb in VERBS:
        VERBS[verb](rest)
    else:
        raise RecipeError(f"{verb} is not a verb of whisper-peft", todo=did_you_mean(verb, VERBS))


def _overview() -> str:
    verbs = [f"  {verb:<15}{(run.__doc__ or '').splitlines()[0]}" for verb, run in VERBS.items()]
    heading = ["usage: whisper-peft VERB ...", "", "Parameter-efficient fine-tuning of OpenAI Whisper.", ""]
    ending = ["", "whisper-peft VERB --help tells more; whisper-peft --version tells the version."]
    return "\n".join([*heading, *verbs, *ending])
