"""The verbs beside finetune(): load, evaluate, merge, transcribe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from whisper_peft.data.sources.opening import Source, open_split
from whisper_peft.deploy.merging import merge_adapter
from whisper_peft.errors import AudioError, MergeError, RecipeError, did_you_mean
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.evaluation.generation import AudioContext, check_language
from whisper_peft.evaluation.transcript_formats import (
    check_folder,
    check_format,
    file_names,
    write_transcript,
)
from whisper_peft.evaluation.transcription import find_recordings, transcribe_files
from whisper_peft.model.loading import Whisper, load_run_or_model
from whisper_peft.pipeline.context_choice import ContextChoice, read_figures, write_figures
from whisper_peft.pipeline.corpora.nearest_language import settle_language
from whisper_peft.pipeline.probing import with_probes
from whisper_peft.pipeline.runs.contradictions import refuse_unfit_base
from whisper_peft.pipeline.runs.mixed_speech import open_mixed_evals
from whisper_peft.pipeline.runs.run_folder import ADAPTER, MERGED, RECIPE_FILE, run_of
from whisper_peft.pipeline.runs.speech import clips_to_compare, count_to_score
from whisper_peft.recipe.overrides import apply_overrides, given_overrides
from whisper_peft.recipe.sections import MergeBase, Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.console.progress import EvalProgress
from whisper_peft.training.processes import start_processes
from whisper_peft.types import EvalResult, MergeResult, Transcript

Overrides = Mapping[str, Any]


def load(run_or_model: str | Path, *, model: Overrides | None = None) -> Whisper:
    """Load a run, an adapter or a model, ready to listen.

    Args:
        run_or_model: A run or adapter folder, or whatever `model.name` takes.
        model: Fields of the section to override, such as `{"quantize": "int8"}`.

    Raises:
        ModelError: If there is nothing to load, or it does not fit together.
    """
    overrides = {"model": dict(model)} if model else {}
    return load_run_or_model(str(run_or_model), apply_overrides(Recipe(), overrides).model)


def evaluate(
    run_or_model: str | Path,
    *,
    model: Overrides | None = None,
    data: Overrides | None = None,
    eval: Overrides | None = None,
) -> EvalResult:
    """Score a run or a model on a split, by generated transcripts.

    What a run's recipe says (base, language, data, normaliser) holds unless overridden, for its merged model
    too. What was mixed in is scored too, in the result's `sources`, unless another source is given.

    Args:
        run_or_model: A run or adapter folder, its merged/, or whatever `model.name` takes.
        model: Fields of the section to override, such as `{"language": "fr"}`.
        data: Overrides, such as `{"source": "my/speech", "eval": "test"}`.
        eval: Overrides, such as `{"max_utterances": 100}`.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> result = evaluate("runs/demo", data={"source": "my/speech", "eval": "test"})  # doctest: +SKIP
    """
    overrides = {
        name: dict(fields) for name, fields in given_overrides(model=model, data=data, eval=eval).items()
    }
    if "source" in overrides.get("data", {}):
        overrides["data"] = {"mix": (), **overrides["data"]}
    recipe = recipe_of(run_or_model, overrides)
    accelerator = start_processes(recipe.model.device)
    source, sources = open_split(recipe.data, "eval"), open_mixed_evals(recipe.data)
    whisper = load_run_or_model(str(run_or_model), apply_overrides(Recipe(), overrides).model)
    told = settle_language(recipe.model.language, source, whisper)
    source, recipe = told.source(source), told.recipe(recipe)
    if recipe.model.language is not None:
        check_language(whisper, recipe.model.language)  # also where every row has one of its own
    console = Console(quiet=not accelerator.is_main_process)
    if told.sentence is not None:
        console.print(told.sentence, markup=False, highlight=False, soft_wrap=True)

    def scored(rows: Source, label: str) -> EvalResult:
        rank, processes = accelerator.process_index, accelerator.num_processes
        return score_rows(whisper, rows, recipe, label, console=console, rank=rank, world_size=processes)

    scores = with_probes(scored(source, "scoring"), whisper, source, recipe=recipe, accelerator=accelerator)
    return replace(scores, sources={one.label: scored(one, f"scoring {one.label}") for one in sources})


def score_rows(
    whisper: Whisper,
    rows: Source,
    recipe: Recipe,
    label: str,
    *,
    console: Console,
    rank: int = 0,
    world_size: int = 1,
) -> EvalResult:
    """Score rows as a recipe says, and show under a label how far it is."""
    with EvalProgress(count_to_score(rows, recipe.eval), label, console=console) as progress:
        return evaluate_utterances(
            whisper,
            rows,
            section=recipe.eval,
            language=recipe.model.language,
            task=recipe.model.task,
            rank=rank,
            world_size=world_size,
            progress=progress.update,
        )


def recipe_of(run_or_model: str | Path, overrides: Overrides) -> Recipe:
    """Return the recipe of a run, also where its adapter or merged model is named, else the default one.

    Args:
        run_or_model: A run folder, a part of one, or whatever `model.name` takes.
        overrides: Fields to set in it, by section.
    """
    path = Path(run_of(run_or_model)) / RECIPE_FILE
    return apply_overrides(read_recipe(path) if path.is_file() else Recipe(), overrides)


def merge(
    run: str | Path,
    *,
    output_dir: str | Path | None = None,
    max_logit_difference: float | None = None,
    clips: int | None = None,
    base: MergeBase | None = None,
    scale: float | None = None,
) -> MergeResult:
    """Fold a run's adapter into its base and prove on the run's own clips that nothing changed.

    Args:
        run: Run folder.
        output_dir: Folder to write. None: `merged` in the run folder.
        max_logit_difference: Tolerance. None: the recipe's.
        clips: Clips to compare on. None: the recipe's.
        base: float, or dequantized: the weights that a quantised run learned beside. None: the recipe's.
        scale: Factor of the adapter's update. None: the recipe's.

    Raises:
        RecipeError: If a value is unfit.
        MergeError: If the folder is no run, or the merged model differs past the tolerance.
        StorageError: If the folder is in use or cannot be written.
    """
    folder = Path(run)
    if not (folder / RECIPE_FILE).is_file():
        raise MergeError(
            f"{folder} is no run folder",
            f"it has no {RECIPE_FILE}, which names the base and the clips to compare on",
            f"give the folder that holds {RECIPE_FILE} and {ADAPTER}/",
        )
    asked = {"max_logit_difference": max_logit_difference, "clips": clips, "base": base, "scale": scale}
    given = {name: value for name, value in asked.items() if value is not None}
    recipe = apply_overrides(read_recipe(folder / RECIPE_FILE), {"merge": given})
    refuse_unfit_base(recipe)
    merged = merge_adapter(
        folder,
        recipe.model,
        clips=clips_to_compare(open_split(recipe.data, "eval"), recipe.merge.clips),
        output_dir=Path(output_dir) if output_dir else folder / MERGED,
        how=recipe.merge,
    )
    write_figures(read_figures(folder), Path(merged.folder))
    return merged


def transcribe(
    run_or_model: str | Path,
    files: Sequence[str | Path],
    *,
    model: Overrides | None = None,
    prompt: str | None = None,
    hotwords: Sequence[str] = (),
    previous_text: bool = False,
    audio_context: ContextChoice = "auto",
    output_dir: str | Path | None = None,
    formats: Sequence[str] = (),
    on_finished: Callable[[Transcript], None] | None = None,
    on_refused: Callable[[AudioError], None] | None = None,
) -> list[Transcript]:
    """Transcribe files and folders of any length; each one's files are written as soon as it is finished.

    Args:
        run_or_model: A run or adapter folder, or whatever `model.name` takes.
        files: Recordings, or folders of them.
        model: Fields of the section to override, such as `{"language": "fr"}`.
        prompt: Text that is taken to come before, which sets style and vocabulary.
        hotwords: Words to expect.
        previous_text: Tell each window of a recording over 30 s what was written before it, as openai-whisper
            does. Names and style hold on, and so do mistakes.
        audio_context: full: 30 s, as Whisper was trained; cut: as long as the speech, which is faster and
            needs a model tuned so; auto: cut where the run measured a WER at most half a point higher there.
        output_dir: Where to write the files of `formats`. None: the current folder.
        formats: Any of txt, srt, vtt, json. None given: txt into `output_dir`, and no file without one.
        on_finished: Called with each transcript once its files are written.
        on_refused: Called with the error of each recording, of several, that cannot be used and is left out.
            None: it is logged.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.
    """
    formats = formats or (("txt",) if output_dir is not None else ())
    folder = Path(output_dir or ".")
    _refuse_unwritable(formats, folder)
    recordings = find_recordings([Path(file) for file in files])  # before weights are loaded
    names = file_names(recordings)
    recipe = recipe_of(run_or_model, {"model": dict(model)} if model else {})

    def keep(place: int, transcript: Transcript) -> None:
        for format in formats:
            write_transcript(transcript, folder, format, name=names[place])
        if on_finished is not None:
            on_finished(transcript)

    return transcribe_files(
        load(run_or_model, model=model),
        recordings,
        language=recipe.model.language,
        task=recipe.model.task,
        prompt=prompt,
        hotwords=hotwords,
        previous_text=previous_text,
        audio_context=choose_context(run_or_model, audio_context),
        on_finished=keep,
        on_refused=on_refused,
    )


def _refuse_unwritable(formats: Sequence[str], folder: Path) -> None:
    for name in formats:
        check_format(name)
    if formats:
        check_folder(folder)


def choose_context(run_or_model: str | Path, choice: ContextChoice) -> AudioContext:
    """Return the audio context to transcribe at, and say why where the run's own figures decide.

    Raises:
        RecipeError: If there is no such choice.
    """
    if choice not in get_args(ContextChoice):
        known = did_you_mean(choice, get_args(ContextChoice))
        raise RecipeError(f"audio_context is {choice!r}", "there is no such audio context", known)
    if choice != "auto":
        return choice
    figures = read_figures(Path(run_of(run_or_model)))
    if figures is None:
        return "full"
    context, reason = figures.choose()
    Console(stderr=True).print(reason, markup=False, highlight=False, soft_wrap=True)
    return context
