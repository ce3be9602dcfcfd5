"""What is compared on when nobody names a recipe: LoRA with the defaults, for one epoch."""

from __future__ import annotations

from whisper_peft.recipe.sections import Recipe, TrainSection

ONE_EPOCH = Recipe(name="benchmark", train=TrainSection(epochs=1))
