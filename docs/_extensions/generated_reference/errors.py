"""Every class of error, from the tree in `whisper_peft/errors.py`."""

from __future__ import annotations

from collections.abc import Iterator

from whisper_peft import errors
from whisper_peft.errors import WhisperPeftError


def error_classes() -> str:
    """Return the tree as it is drawn in the module, and each class with its docstring."""
    tree = (errors.__doc__ or "").partition("```\n")[2].partition("```")[0]
    return "\n\n".join([f"```text\n{tree}```", *map(_described, _tree(WhisperPeftError))])


def _tree(error: type[WhisperPeftError]) -> Iterator[type[WhisperPeftError]]:
    """Yield a class of error and all below it, in the order of the module."""
    yield error
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child)


def _described(error: type[WhisperPeftError]) -> str:
    return f"```{{eval-rst}}\n.. autoexception:: {error.__module__}.{error.__name__}\n```"
