"""Fields of a recipe that contradict each other, told before anything is opened or loaded."""

from __future__ import annotations

from whisper_peft.data.batches.mixing_shares import refuse_unfit_mix
from whisper_peft.deploy.merging import refuse_unquantized
from whisper_peft.errors import MergeError, RecipeError
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.cache_choice import refuse_unfit_cache


def refuse_contradictions(recipe: Recipe) -> None:
    """Refuse a recipe that cannot do what its own fields ask for.

    Raises:
        RecipeError: With the fields, and what to type instead.
        MergeError: The same, where the merge at the end could not be made.
    """
    _refuse_idle_patience(recipe)
    refuse_unfit_cache(recipe)
    refuse_unfit_mix(recipe.data)
    if recipe.merge.enabled and recipe.adapter.method != "full":
        refuse_unfit_base(recipe)


def refuse_unfit_base(recipe: Recipe) -> None:
    """Refuse a base to merge into that is not the one beside which the adapter learns.

    Raises:
        MergeError: With the base to choose instead.
    """
    base, start = recipe.merge.base, recipe.adapter.init_lora_weights
    refuse_unquantized(base, recipe.model)
    if start == "loftq" and base == "float":
        raise MergeError(
            "merge.base is float and adapter.init_lora_weights is loftq",
            "the adapter also holds what rounding took away, and the float weights still have it",
            "use --base dequantized (merge.base dequantized in a recipe)",
        )
    if start == "pissa" and base == "dequantized":
        raise MergeError(
            "merge.base is dequantized and adapter.init_lora_weights is pissa",
            "what was rounded is what the start left of the weights, which are no model by themselves",
            "use --base float (merge.base float in a recipe)",
        )


def _refuse_idle_patience(recipe: Recipe) -> None:
    if recipe.train.early_stopping_patience is not None and recipe.eval.steps is None:
        raise RecipeError(
            f"train.early_stopping_patience is {recipe.train.early_stopping_patience} without eval.steps",
            "patience counts evaluations while training, and there are none",
            "add --eval.steps, such as --eval.steps 100",
        )
