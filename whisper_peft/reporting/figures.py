"""How numbers are printed: the one place where a fraction becomes a percentage and bytes become GiB."""

from __future__ import annotations

import math
from collections.abc import Mapping

GIB = 1024**3
MIB = 1024**2
NOT_A_NUMBER = "not a number"


def percent(fraction: float, digits: int = 2) -> str:
    """Print a fraction as a percentage.

    Example:
        >>> percent(0.0744), percent(0.5, digits=0)
        ('7.44 %', '50 %')
    """
    return f"{fraction * 100:.{digits}f} %" if math.isfinite(fraction) else NOT_A_NUMBER


def share(fraction: float) -> str:
    """Print a share of a whole, to a tenth of a percent.

    Example:
        >>> share(0.0123)
        '1.2 %'
    """
    return percent(fraction, digits=1)


def whole_percent(fraction: float) -> str:
    """Print a share without decimals.

    Example:
        >>> whole_percent(0.921)
        '92 %'
    """
    return percent(fraction, digits=0)


def short_percent(fraction: float) -> str:
    """Print a fraction as a percentage without idle zeros, as on an axis.

    Example:
        >>> short_percent(0.4), short_percent(0.025)
        ('40 %', '2.5 %')
    """
    return f"{fraction * 100:.3g} %" if math.isfinite(fraction) else NOT_A_NUMBER


def points(difference: float) -> str:
    """Print a difference of two fractions in signed percentage points.

    Example:
        >>> points(-0.085)
        '-8.50 points'
    """
    return f"{difference * 100:+.2f} points" if math.isfinite(difference) else NOT_A_NUMBER


def interval(low_and_high: tuple[float, float]) -> str:
    """Print a confidence interval of a rate.

    Example:
        >>> interval((0.142, 0.25))
        '14.20 % to 25.00 %'
    """
    return " to ".join(percent(bound) for bound in low_and_high)


def count(number: float) -> str:
    """Print a whole number with its thousands apart.

    Example:
        >>> count(3538944)
        '3,538,944'
    """
    return f"{number:,.0f}"


def utterances(number: int) -> str:
    """Say how many utterances.

    Example:
        >>> utterances(1), utterances(1200)
        ('1 utterance', '1,200 utterances')
    """
    return f"{count(number)} utterance{'s' if number != 1 else ''}"


SINGULARS = {
    "boundaries": "boundary",
    "ends of utterances": "end of an utterance",
    "words or marks": "word or mark",
    "words written": "word written",
}
"""Of what is counted, where it is not the plural without its last letter."""


def noun(number: float, plural: str) -> str:
    """Return what is counted, of one or of several.

    Example:
        >>> noun(1, "clips"), noun(2, "clips"), noun(1, "words or marks")
        ('clip', 'clips', 'word or mark')
    """
    return SINGULARS.get(plural, plural.removesuffix("s")) if number == 1 else plural


def number(value: float) -> str:
    """Print a measured number with four significant digits.

    Example:
        >>> number(1.23456), number(12345.6), number(1.2e-05), number(float("nan"))
        ('1.235', '12,346', '1.2e-05', 'not a number')
    """
    if not math.isfinite(value):
        return NOT_A_NUMBER
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def short(value: float) -> str:
    """Print a measured number with three significant digits.

    Example:
        >>> short(11.4652), short(0.20338), short(12345.6)
        ('11.5', '0.203', '12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def per_hundred(value: float) -> str:
    """Print how many of something stand in a hundred words, with one decimal.

    Example:
        >>> per_hundred(4.4073), per_hundred(0.0)
        ('4.4', '0.0')
    """
    return f"{value:.1f}"


def memory(size_bytes: float) -> str:
    """Print bytes as MiB or GiB.

    Example:
        >>> memory(1_986_422_374), memory(63 * 1024**2)
        ('1.85 GiB', '63 MiB')
    """
    return f"{size_bytes / GIB:.2f} GiB" if size_bytes >= GIB else f"{size_bytes / MIB:.0f} MiB"


def gib(size_bytes: float) -> str:
    """Print bytes as GiB, as on an axis.

    Example:
        >>> gib(3 * 2**29), gib(0)
        ('1.5 GiB', '0 GiB')
    """
    return f"{size_bytes / GIB:.3g} GiB"


def duration(seconds: float) -> str:
    """Print seconds for a reader.

    Example:
        >>> duration(4.26), duration(94.4), duration(7384)
        ('4.3 s', '1 min 34 s', '2 h 03 min')
    """
    if not math.isfinite(seconds):
        return NOT_A_NUMBER
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def reasons(skipped: Mapping[str, int]) -> str:
    """Print how many rows were skipped, and why, the commonest reason first.

    Example:
        >>> reasons({"empty_text": 1, "too_long": 4}), reasons({})
        ('5 (4 too long, 1 empty text)', 'none')
    """
    if not skipped:
        return "none"
    ordered = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{rows} {reason.replace('_', ' ')}" for reason, rows in ordered)
    return f"{sum(skipped.values())} ({listed})"


def decibels(value: float) -> str:
    """Print a level.

    Example:
        >>> decibels(21.37)
        '21 dB'
    """
    return f"{value:.0f} dB"


def signed_percent(fraction: float) -> str:
    """Print a relative change.

    Example:
        >>> signed_percent(-0.4381)
        '-43.8 %'
    """
    return f"{fraction * 100:+.1f} %" if math.isfinite(fraction) else NOT_A_NUMBER


def signed_count(number: float) -> str:
    """Print a difference of two counts.

    Example:
        >>> signed_count(-12), signed_count(0)
        ('-12', '0')
    """
    return f"{number:+,.0f}" if number else "0"


def plain(number: float) -> str:
    """Print a whole number as it is typed, such as a seed.

    Example:
        >>> plain(12345)
        '12345'
    """
    return f"{number:.0f}"
