"""How much of an epoch each source of a mixture takes.

Without weights a source of n rows takes a share that goes with n ** (1 / T): at 1 the sources count as they
are, and a higher temperature hears more of the small ones. Multilingual BERT (Devlin, 2018) and XLM-R
(Conneau et al., 2020) have the exponents 0.7 and 0.3, which are T = 1.4 and 3.3; Arivazhagan et al. (2019)
take T = 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.sections import DataSection, MixedSource


def refuse_unfit_mix(section: DataSection) -> None:
    """Refuse settings of `data.mix` that contradict each other or have no effect.

    Raises:
        RecipeError: With what contradicts what.

    Example:
        >>> refuse_unfit_mix(DataSection(mix=["a=70%", "b=30%"]))
        Traceback (most recent call last):
        whisper_peft.errors.RecipeError: the shares of data.mix come to 100 % - nothing is left ...
    """
    for place, source in enumerate(section.mix):
        _refuse_unfit_source(source, f"data.mix.{place}")
    learned = _learned(section)
    shares = sum(_exact(source.share) for source in learned.values() if source.share is not None)
    if shares >= 1:
        what = f"the shares of data.mix come to {float(shares) * 100:.4g} %"
        raise RecipeError(what, "nothing is left for data.source", "lower them")
    weighted = [name for name, source in learned.items() if source.weight is not None]
    bare = [name for name, source in learned.items() if source.share is None and source.weight is None]
    if weighted and bare:
        what = f"{bare[0]} has no weight, and {weighted[0]} has one"
        raise RecipeError(what, "how much of it to hear is not clear", "give each a weight or a share")
    _refuse_idle(section, weighted=bool(weighted), bare=bool(bare))


def _refuse_unfit_source(source: MixedSource, name: str) -> None:
    if source.weight is not None and source.share is not None:
        what = f"{name} has the weight {source.weight:g} and the share {source.share:g}"
        raise RecipeError(what, "either says how much of it is heard", "leave one out")
    if source.train is None and (source.weight is not None or source.share is not None):
        what = f"{name} has a weight or a share, and its train is None"
        raise RecipeError(what, "it is only scored, so none of it is heard", "leave the weight out")
    if source.train is None and source.eval is None:
        what = f"train and eval of {name} are None"
        raise RecipeError(what, "it is neither learned nor scored", "leave the source out")


def _learned(section: DataSection) -> dict[str, MixedSource]:
    """Return the sources that are learned from, by the name of their fields."""
    named = {f"data.mix.{place}": source for place, source in enumerate(section.mix)}
    return {name: source for name, source in named.items() if source.train is not None}


def _refuse_idle(section: DataSection, *, weighted: bool, bare: bool) -> None:
    """Refuse a setting that nothing goes by."""
    if section.weight != 1 and not weighted:
        what = f"data.weight is {section.weight:g}, and no source of data.mix has a weight"
        raise RecipeError(what, "there is nothing to weigh it against", "write --data.mix SOURCE=WEIGHT")
    if section.mix_temperature != 1 and not bare:
        what = f"data.mix_temperature is {section.mix_temperature:g}, and no source of data.mix goes by it"
        raise RecipeError(what, "each has a weight or a share, or there is none", "leave the temperature out")


def mixing_shares(section: DataSection, rows: Sequence[int | None]) -> tuple[Fraction, ...]:
    """Return the share of an epoch's rows that each learned source takes, the main one first.

    Args:
        section: The main source, with the others in `mix`.
        rows: Rows of each source that is learned from, the main one first; None for a stream.

    Raises:
        RecipeError: If the settings contradict each other, or a temperature needs the rows of a stream.

    Example:
        >>> [float(share) for share in mixing_shares(DataSection(mix=["a=20%"]), [1000, 50])]
        [0.8, 0.2]
        >>> [float(share) for share in mixing_shares(DataSection(mix=["a"], mix_temperature=2), [900, 100])]
        [0.75, 0.25]
    """
    refuse_unfit_mix(section)
    learned = _learned(section)
    asked = [None, *(source.share for source in learned.values())]
    weights = [section.weight, *(source.weight for source in learned.values())]
    by_size = any(source.weight is None and source.share is None for source in learned.values())
    masses = [
        Fraction(0)
        if share is not None
        else (_size(name, count, section.mix_temperature) if by_size else _exact(weight or 0))
        for name, count, share, weight in zip(["data.source", *learned], rows, asked, weights, strict=True)
    ]
    left = 1 - sum(_exact(share) for share in asked if share is not None)
    return tuple(
        left * mass / sum(masses) if share is None else _exact(share)
        for share, mass in zip(asked, masses, strict=True)
    )


def _size(name: str, rows: int | None, temperature: float) -> Fraction:
    if rows is None:
        raise RecipeError(
            f"{name} is a stream, and data.mix gives no weight",
            "how many rows it has is not known, so its share cannot be told from them",
            "give weights or shares, such as --data.mix SOURCE=0.25 or SOURCE=20%",
        )
    return Fraction(float(rows) ** (1 / temperature))


def _exact(number: float) -> Fraction:
    """Return the number that was typed: 1/10 for 0.1, so that nine rows go with exactly one."""
    return Fraction(repr(float(number)))
