"""`label`: a corpus written down, to learn from."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.inspecting import InspectFields
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.commands.words import recorded_recipe
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.reporting.figures import count, number, reasons
from whisper_peft.terminal import show

if TYPE_CHECKING:
    from whisper_peft.pipeline.corpora.labelling import LabelResult


@dataclass(frozen=True)
class Label:
    """Write down a corpus with a model, as rows that finetune reads; a stopped one goes on where it was."""

    run_or_model: Annotated[Positional[str], arg(metavar="RUN_OR_MODEL")]
    """A run folder, an adapter folder, a model folder or file, or a model's name."""
    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """A path of any known kind, a name on the Hub, or recordings without text: a file or a folder."""
    output_dir: Path
    """Folder to write; data.source of the training afterwards."""
    split: str = "all"
    """Split of the source; all for every row."""
    min_confidence: float = 0.0
    """Least confidence of a row to learn from, 0 to 1. It can be changed later: nothing is heard again."""
    workers: int = 0
    """Ray workers, each with a model, here or on the cluster of RAY_ADDRESS. 0: this process, without Ray."""
    audio_context: Literal["full", "cut", "auto"] = "auto"
    """full: 30 s. cut: as long as the speech, for models tuned so. auto: cut where that did no harm."""
    batch_size: int = 8
    """Clips heard together at 30 s context."""
    shard_rows: int = 128
    """Rows that a worker takes at a time, and that a stop loses at most."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """Of the shards with every row, in parts/."""
    json: Path | None = None
    """File to write the counts to."""
    fields: Annotated[InspectFields, arg(name="")] = field(default_factory=InspectFields)


def run_label(words: list[str]) -> None:
    """Write down a corpus with a model, as rows that finetune reads: pseudo-labels."""
    recipe = recorded_recipe(words)
    default = Label(MISSING, MISSING, output_dir=MISSING, fields=InspectFields(model=recipe.model))
    command, overrides = parse_command(default, words, prog="whisper-peft label")
    apply_overrides(recipe, overrides)
    if command.json is not None:
        refuse_unwritable(command.json)
    result = whisper_peft.label(
        command.run_or_model,
        command.source,
        output_dir=command.output_dir,
        split=command.split,
        min_confidence=command.min_confidence,
        workers=command.workers,
        audio_context=command.audio_context,
        batch_size=command.batch_size,
        shard_rows=command.shard_rows,
        format=command.format,
        on_shard=tell_heard,
        **tree_of(overrides),
    )
    show(label_text(result))
    if command.json is not None:
        write_json(command.json, result.to_dict())


def tell_heard(rows: int) -> None:
    """Tell how far it is, beside what is printed for others to read."""
    print(f"{count(rows)} rows heard", file=sys.stderr, flush=True)


def label_text(result: LabelResult) -> str:
    """Return what came of a corpus, a line each."""
    lines = {
        "rows": f"{count(result.rows)} to learn from, {number(result.hours)} h",
        "left out": reasons(result.left_out) if result.left_out else "none",
        "heard": f"{count(result.heard)} now, {count(result.found)} before",
        "train on": f"--data.source {result.folder} --data.train all",
    }
    return "\n".join(f"{label:<12}{text}" for label, text in lines.items())
