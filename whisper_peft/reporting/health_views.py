"""The health of a run as a reader gets it: a line for each check, and figures with their change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import metadata

from whisper_peft.evaluation.health.checks import CHECKS
from whisper_peft.evaluation.health.values import GRAVITY, Check, Figure, Health, Unit, Verdict
from whisper_peft.reporting import figures

HOW_TO = "docs/how-to"


@cache
def how_to_url(page: str) -> str:
    """Return where a page of `docs/how-to` can be read, in the repository of the installed package.

    Example:
        >>> how_to_url("forgetting").endswith("/blob/main/docs/how-to/forgetting.md")
        True
    """
    urls = dict(line.split(", ", 1) for line in metadata("whisper-peft").get_all("Project-URL") or ())
    return f"{urls['Repository']}/blob/main/{HOW_TO}/{page}.md"


def seconds(value: float) -> str:
    """Print a short duration.

    Example:
        >>> seconds(0.384)
        '0.38 s'
    """
    return f"{value:.2f} s"


def signed(value: float) -> str:
    """Print a change of a plain number.

    Example:
        >>> signed(-1.25), signed(0.0)
        ('-1.25', '+0')
    """
    return f"{value:+.4g}"


def signed_seconds(value: float) -> str:
    """Print a change of a short duration.

    Example:
        >>> signed_seconds(0.5)
        '+0.50 s'
    """
    return f"{value:+.2f} s"


PRINTED: Mapping[Unit, Callable[[float], str]] = {
    "share": figures.percent,
    "seconds": seconds,
    "number": figures.number,
}
CHANGES: Mapping[Unit, Callable[[float], str]] = {
    "share": figures.points,
    "seconds": signed_seconds,
    "number": signed,
}


def title(check: Check) -> str:
    """Return what a check is called, with what it was measured on.

    Example:
        >>> title(Check("retention", "libri", "good", (), ""))
        'Retention: libri'
    """
    name = CHECKS[check.name].title
    return f"{name}: {check.subject}" if check.subject else name


def overall(health: Health) -> str:
    """Say in one line how many checks came out how, the gravest first.

    Example:
        >>> checks = (Check("loops", "", "good", (), ""), Check("target", "", "bad", (), ""))
        >>> overall(Health("quick", checks, 1.0))
        '1 bad, 1 good'
    """
    counts = {verdict: sum(one.verdict == verdict for one in health.checks) for verdict in GRAVITY}
    ordered: tuple[Verdict, ...] = ("bad", "watch", "good", "not measured")
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ordered if counts[verdict])


def unmeasured(health: Health) -> str:
    """Return what was not measured, by title.

    Example:
        >>> unmeasured(Health("quick", (Check("context", "", "not measured", (), ""),), 1.0))
        'Short against full context'
    """
    return ", ".join(title(check) for check in health.checks if check.verdict == "not measured")


def figure_text(figure: Figure) -> str:
    """Return a figure before -> after with the interval of its change and the count, in plain text.

    Example:
        >>> figure_text(Figure("WER", "share", 0.1, 0.2, (0.05, 0.15), 60, "utterances"))
        'WER 10.00 % -> 20.00 % (+5.00 points to +15.00 points, 60 utterances)'
    """
    printed = PRINTED[figure.unit]
    sides = [printed(value) for value in (figure.before, figure.after) if value is not None]
    counted = f"{figures.count(figure.count)} {figures.noun(figure.count, figure.counted)}"
    if figure.change is None:
        return f"{figure.name} {' -> '.join(sides)} ({counted})"
    low, high = map(CHANGES[figure.unit], figure.change)
    return f"{figure.name} {' -> '.join(sides)} ({low} to {high}, {counted})"


def check_text(check: Check) -> str:
    """Return a check in one line: what, the figure, and why.

    Example:
        >>> check_text(Check("loops", "", "good", (), "transcripts end"))
        'Loops: transcripts end'
    """
    heading = title(check)
    if not check.figures:
        return f"{heading}: {check.why}"
    return f"{heading}: {figure_text(check.figures[0])}: {check.why}"


def todo_text(check: Check) -> str:
    """Return what to do, and where it is told; nothing where all is good."""
    if not check.todo:
        return ""
    return f"{check.todo}; see {HOW_TO}/{check.how_to}.md"


def health_lines(health: Health) -> Iterator[tuple[str, str]]:
    """Yield lines with their label: all in all, then each check under its verdict, and what to do.

    Example:
        >>> list(health_lines(Health("quick", (Check("loops", "", "good", (), "transcripts end"),), 8.1)))
        [('health', '1 good (quick, 8.1 s)'), ('good', 'Loops: transcripts end')]
    """
    yield "health", f"{overall(health)} ({health.level}, {figures.duration(health.seconds)})"
    for check in health.checks:
        yield check.verdict, check_text(check)
        if todo := todo_text(check):
            yield "", f"-> {todo}"
