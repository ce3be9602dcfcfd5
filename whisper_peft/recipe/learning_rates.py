"""Learning rates at which each way of adapting was measured to learn well, and what to say of another.

They are of tiny.en and accented English (docs/results/methods.md): elsewhere their orders of size hold, their
digits need not.
"""

from __future__ import annotations

from whisper_peft.recipe.adapter_names import adapter_name
from whisper_peft.recipe.sections import Recipe

GOOD_RATES: dict[str, tuple[float, float]] = {
    "LoRA": (1e-4, 1e-3),
    "rsLoRA": (1e-4, 1e-4),
    "DoRA": (3e-4, 3e-4),
    "PiSSA": (1e-4, 1e-4),
    "EVA": (1e-4, 1e-4),
    "LoftQ": (3e-4, 3e-4),
    "AdaLoRA": (3e-3, 3e-3),
    "IA3": (1e-2, 1e-2),
    "VeRA": (1e-2, 1e-2),
    "full fine-tuning": (1e-5, 1e-4),
}
"""Lowest and highest rate that did well, by `adapter_name`. Combinations were not measured."""

TOO_HIGH, TOO_LOW = 2.0, 0.1
"""Beyond these factors of the good rates it is said: a low rate may be meant, to forget less."""


def rate_sentence(recipe: Recipe) -> str | None:
    """Return what to say where a recipe's learning rate is far from those its method learned well at.

    Example:
        >>> print(rate_sentence(Recipe(adapter={"method": "ia3"})))
        train.learning_rate is 0.0003: IA3 was measured to learn well at 0.01 (docs/how-to/choose-a-method.md)
        >>> rate_sentence(Recipe()) is None
        True
    """
    name, rate = adapter_name(recipe.adapter), recipe.train.learning_rate
    lowest, highest = GOOD_RATES.get(name, (rate, rate))
    if TOO_LOW * lowest <= rate <= TOO_HIGH * highest:
        return None
    good = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
    why = f"{name} was measured to learn well at {good} (docs/how-to/choose-a-method.md)"
    return f"train.learning_rate is {rate:g}: {why}"
