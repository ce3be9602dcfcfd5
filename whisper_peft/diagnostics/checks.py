"""One thing tried, and all of them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from whisper_peft.errors import WhisperPeftError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tried: whether it works, what was found, and what to do where it does not."""

    name: str
    works: bool
    detail: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was tried, in order."""

    checks: tuple[Check, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something to try.

    Attributes:
        action: Tells what it found, or raises.
        todo: What to do where it raises.
        library: The distribution whose native code does the work in a process apart; empty where none does.
        instead: What goes without that library; empty where nothing does.
    """

    action: Callable[[], str]
    todo: str
    library: str = ""
    instead: str = ""

    def check(self, name: str) -> Check:
        """Try it, and return whether it works.

        Example:
            >>> Attempt(lambda: "two are here", "get two").check("cores")
            Check(name='cores', works=True, detail='two are here', todo='')
            >>> Attempt(lambda: str(1 / 0), "divide by another number").check("division").detail
            'ZeroDivisionError: division by zero'
        """
        try:
            return Check(name, True, self.action())
        except WhisperPeftError as error:
            return Check(name, False, " - ".join(filter(None, (error.what, error.why))), self.todo)
        except Exception as error:  # the point is to learn how third-party code fails here
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            return Check(name, False, said, self.todo)
