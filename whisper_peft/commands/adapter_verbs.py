"""`adapters`: what can be done with adapters as they are, each in a verb of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.commands.words import recorded_recipe
from whisper_peft.errors import RecipeError, did_you_mean
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import DataSection, EvalSection, ModelSection, Section, SpeechFields
from whisper_peft.terminal import is_main_process, show


@dataclass(frozen=True)
class Show:
    """Show what an adapter folder holds: kind, base, rank, layers, and whether it was trained."""

    adapter: Annotated[Positional[str], arg(metavar="ADAPTER")]
    """A run folder or an adapter folder, of any tool."""
    json: Path | None = None
    """File to write it to."""


class Retention(SpeechFields):
    """Speech that should still be understood."""

    source: Any = "none"
    """Where it lies, as data.source. none: the first source that the run mixed in."""
    eval: str | None = "validation.clean"
    """Split to score."""
    language: str | None = None
    """Language of rows that have none of their own. None: model.language."""


class ScaleCurveFields(Section):
    """The sections that a scale curve reads."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    eval: EvalSection = EvalSection()
    retention: Retention = Retention()


@dataclass(frozen=True)
class ScaleCurve:
    """Score an adapter at several scales of its update, and recommend one."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder or an adapter folder."""
    scales: tuple[float, ...] = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0)
    """Factors of the update: 0 is the base, 1 the adapter as it was trained."""
    tolerance: float = 0.005
    """How much the retention WER may rise above the base's, as a fraction."""
    plot: Path | None = None
    """File to draw the curve in, such as curve.png."""
    json: Path | None = None
    """File to write the curve to."""
    fields: Annotated[ScaleCurveFields, arg(name="")] = field(default_factory=ScaleCurveFields)


@dataclass(frozen=True)
class Combine:
    """Write a weighted combination of adapters of one base as an adapter folder."""

    adapters: Annotated[Positional[tuple[str, ...]], arg(metavar="ADAPTER ...")]
    """Run folders or adapter folders."""
    output_dir: Path
    """Folder to write."""
    weights: tuple[float, ...] | None = None
    """One for each adapter. None: their mean."""
    how: str = "svd"
    """cat (exact, ranks add up), svd (nearest of a rank), linear, ties, ...: whatever PEFT has."""
    rank: int | None = None
    """Rank of the result, for the ways that end in svd. None: the largest of the adapters'."""
    density: float | None = None
    """Share of the values that stay, for ties, dare and magnitude_prune."""
    seed: int = 0
    """Of the values that dare draws."""
    base: str | None = None
    """Their base model. None: the one that the first adapter names."""
    json: Path | None = None
    """File to write the result to."""


@dataclass(frozen=True)
class Average:
    """Write the mean of a run's last checkpoints as an adapter folder."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder."""
    output_dir: Path
    """Folder to write."""
    last: int = 3
    """Checkpoints to average."""
    json: Path | None = None
    """File to write the result to."""


@dataclass(frozen=True)
class Unmerge:
    """Take an adapter's update out of a merged model, and compare what is left with the base."""

    merged: Annotated[Positional[str], arg(metavar="MERGED")]
    """A model folder that the adapter was folded into."""
    adapter: Annotated[Positional[str], arg(metavar="ADAPTER")]
    """The run folder or adapter folder."""
    output_dir: Path
    """Folder to write the base to."""
    scale: float = 1.0
    """The scale that it was merged at."""
    base: str | None = None
    """The base to compare with. None: the adapter's own, where it is at hand."""
    json: Path | None = None
    """File to write the result to."""


@dataclass(frozen=True)
class Extract:
    """Write the LoRA nearest to what full fine-tuning changed, at a rank."""

    tuned: Annotated[Positional[str], arg(metavar="TUNED")]
    """A run folder of full fine-tuning, or any tuned model."""
    output_dir: Path
    """Folder to write."""
    base: str | None = None
    """The model before tuning. None: the run's."""
    r: int = 32
    """Rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """attention, all-linear, encoder-only, decoder-only, or names of modules."""
    json: Path | None = None
    """File to write the result to, with the share of each layer."""


def run_adapters(words: list[str]) -> None:
    """Show, scale, combine, average, unmerge or extract adapters."""
    verb, rest = (words[0], words[1:]) if words else ("--help", [])
    if verb in ("--help", "-h"):
        width = max(map(len, ACTIONS))
        lines = [f"  {name:<{width}}  {(run.__doc__ or '').splitlines()[0]}" for name, run in ACTIONS.items()]
        show("\n".join(["usage: whisper-peft adapters ACTION ...", "", *lines]))
    elif verb in ACTIONS:
        ACTIONS[verb](rest)
    else:
        raise RecipeError(f"adapters {verb} is not a command", todo=did_you_mean(verb, ACTIONS))


def _run_show(words: list[str]) -> None:
    """What a folder holds: kind, base, rank, layers, and whether it was trained."""
    command, _ = _parse(Show(MISSING), words, "show")
    described = whisper_peft.describe_adapter(command.adapter)
    _tell(described.text(), described.to_dict(), command.json)


def _run_scale_curve(words: list[str]) -> None:
    """Target and retention WER over scales of the update, and the scale to use."""
    recipe = recorded_recipe(words)
    fields = ScaleCurveFields(model=recipe.model, data=recipe.data, eval=recipe.eval)
    command, overrides = _parse(ScaleCurve(MISSING, fields=fields), words, "scale-curve")
    tree = tree_of(overrides, ScaleCurveFields)
    retention = take_retention(tree)
    apply_overrides(recipe, tree)
    if command.plot is not None:
        refuse_unwritable(command.plot)
    curve = whisper_peft.scale_curve(
        command.run, scales=command.scales, tolerance=command.tolerance, retention=retention, **tree
    )
    _tell(curve.text(), curve.to_dict(), command.json)
    if command.plot is not None and is_main_process():
        from whisper_peft.reporting.values.scale_curve_values import write_scale_plot

        write_scale_plot(curve, command.plot)


def take_retention(tree: dict[str, Any]) -> dict[str, Any] | None:
    """Take the speech to retain out of the fields that were typed; None where nobody named any.

    Raises:
        RecipeError: If fields of it were typed without a source.
    """
    retention: dict[str, Any] | None = tree.pop("retention", None)
    if retention is not None and "source" not in retention:
        raise RecipeError(
            "--retention has no source", "there is nothing to score", "give --retention.source too"
        )
    return retention


def _run_combine(words: list[str]) -> None:
    """Several adapters of one base in one, by any way that PEFT has."""
    command, _ = _parse(Combine(MISSING, output_dir=MISSING), words, "combine")
    result = whisper_peft.combine_adapters(
        command.adapters,
        output_dir=command.output_dir,
        weights=command.weights,
        how=command.how,
        rank=command.rank,
        density=command.density,
        seed=command.seed,
        model={"name": command.base} if command.base else None,
    )
    _tell(f"{result.sentence()}\n{result.folder}", result.to_dict(), command.json)


def _run_average(words: list[str]) -> None:
    """The mean of a run's last checkpoints."""
    command, _ = _parse(Average(MISSING, output_dir=MISSING), words, "average")
    result = whisper_peft.average_checkpoints(command.run, output_dir=command.output_dir, last=command.last)
    _tell(f"{result.sentence()}\n{result.folder}", result.to_dict(), command.json)


def _run_unmerge(words: list[str]) -> None:
    """The base of a merged model, compared with the base itself."""
    command, _ = _parse(Unmerge(MISSING, MISSING, output_dir=MISSING), words, "unmerge")
    result = whisper_peft.unmerge(
        command.merged,
        command.adapter,
        output_dir=command.output_dir,
        scale=command.scale,
        base=command.base,
    )
    _tell(f"{result.sentence()}\n{result.folder}", result.to_dict(), command.json)


def _run_extract(words: list[str]) -> None:
    """A LoRA of a fully tuned model, by the singular values of what changed."""
    command, _ = _parse(Extract(MISSING, output_dir=MISSING), words, "extract")
    targets = command.targets[0] if len(command.targets) == 1 else command.targets
    result = whisper_peft.extract_adapter(
        command.tuned, output_dir=command.output_dir, base=command.base, r=command.r, targets=targets
    )
    _tell(f"{result.sentence()}\n{result.folder}", result.to_dict(), command.json)


def _parse(default: Any, words: list[str], action: str) -> tuple[Any, dict[str, Any]]:
    command, overrides = parse_command(default, words, prog=f"whisper-peft adapters {action}")
    if command.json is not None:
        refuse_unwritable(command.json)
    return command, overrides


def _tell(text: str, result: Mapping[str, Any], file: Path | None) -> None:
    """Print a result, and write it where that was asked for."""
    show(text)
    if file is not None and is_main_process():
        write_json(file, result)


ACTIONS: dict[str, Callable[[list[str]], None]] = {
    "show": _run_show,
    "scale-curve": _run_scale_curve,
    "combine": _run_combine,
    "average": _run_average,
    "unmerge": _run_unmerge,
    "extract": _run_extract,
}
"""What `adapters` does, by the word that follows it."""
