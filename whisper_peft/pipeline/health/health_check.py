"""`health`: what a run did to its model beside the WER, each side with a verdict and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from whisper_peft.data.sources.mixed_sources import NamedSource
from whisper_peft.data.sources.opening import Source, open_split
from whisper_peft.data.survey.transcript_survey import sentence_digest
from whisper_peft.errors import EvaluationError, WhisperPeftError
from whisper_peft.evaluation.error_analysis.groups import scored_alike
from whisper_peft.evaluation.evaluator import draw_evenly, evaluate_utterances
from whisper_peft.evaluation.health.budgets import BUDGETS, Budget
from whisper_peft.evaluation.health.evidence import Hearing, Pair
from whisper_peft.evaluation.health.hearing import hear, written_language
from whisper_peft.evaluation.health.judging import Evidence, judge
from whisper_peft.evaluation.health.values import Health, Level
from whisper_peft.model.loading import Whisper, load_run_or_model, load_whisper
from whisper_peft.pipeline.corpora.nearest_language import settle_language
from whisper_peft.pipeline.health.health_material import Gathered, gather, open_retention
from whisper_peft.pipeline.health.leaked_rows import LeakedRows, find_leaked, trained_sources
from whisper_peft.pipeline.runs.run_folder import MERGED, MODEL, RECIPE_FILE
from whisper_peft.pipeline.runs.run_views import report as write_views_again
from whisper_peft.recipe.overrides import apply_overrides, given_overrides
from whisper_peft.recipe.sections import ModelSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe, refuse_held_in_memory
from whisper_peft.reporting.json_lines import Predictions, read_predictions
from whisper_peft.reporting.run_report import EvaluationRecord, RunReport, read_report, write_report
from whisper_peft.training.processes import on_main_process, start_processes
from whisper_peft.types import Prediction

QUICK_ONLY = "it takes a third model, which eval.health full alone hears"


def health(
    run: str | Path,
    *,
    retention: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
) -> Health:
    """Check the health of a run: the untuned and the tuned model on the same material, side by side.

    The result is put into the run's `report.json`, and its card and page are written anew.

    Args:
        run: Run folder.
        retention: Other speech that should still be understood: fields of `data.mix` such as
            `{"source": "my/english", "eval": "test", "language": "en"}`. None: what the run scored beside its
            own, else the speech that the package brings along.
        model: Fields of the section to override, such as `{"device": "cpu"}`.
        eval: Overrides, such as `{"health": "full"}`. A run without a check gets the quick one.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> checked = health("runs/demo", eval={"health": "full"})  # doctest: +SKIP
        >>> [check.name for check in checked.checks if check.verdict == "bad"]  # doctest: +SKIP
        []
    """
    folder = Path(run)
    if not (folder / RECIPE_FILE).is_file():
        raise EvaluationError(
            f"{folder} is no run folder",
            f"it has no {RECIPE_FILE}, which names the base to compare with",
            "give the folder of a run; evaluate scores a model alone",
        )
    overrides = {name: dict(fields) for name, fields in given_overrides(model=model, eval=eval).items()}
    recipe, found = apply_overrides(read_recipe(folder / RECIPE_FILE), overrides), read_report(folder)
    other = open_retention(recipe, retention)
    accelerator = start_processes(recipe.model.device)
    console = Console(stderr=True, quiet=not accelerator.is_main_process)

    def measure() -> Health:
        level: Level = "full" if recipe.eval.health == "full" else "quick"
        section = apply_overrides(Recipe(), {"model": overrides.get("model", {})}).model
        work = HealthCheck(folder, recipe, found, level, console.print, other, section)
        measured = work.run()
        write_report(found.model_copy(update={"health": measured}), folder)
        write_views_again(folder)
        return measured

    return on_main_process(accelerator, measure)


@dataclass(frozen=True)
class HealthCheck:
    """One check of one run.

    Args:
        folder: The run folder, with what was learned.
        recipe: The run's.
        report: What was measured so far.
        level: How much is heard.
        say: Is told in a sentence.
        retention: Other speech that somebody named.
        section: Fields of the model that are other than the run's.
    """

    folder: Path
    recipe: Recipe
    report: RunReport
    level: Level
    say: Callable[[str], object]
    retention: NamedSource | None = None
    section: ModelSection = field(default_factory=ModelSection)

    def run(self) -> Health:
        """Hear both models, and judge; what cannot be heard is not measured, and says why."""
        started = time.monotonic()
        self.say(f"checking the health of the run ({self.level}): both models hear the same")
        evidence = self._evidence()
        return Health(self.level, judge(evidence), round(time.monotonic() - started, 1))

    @property
    def _budget(self) -> Budget:
        return BUDGETS[self.level]

    def _evidence(self) -> Evidence:
        recipe, scores = self.recipe, self.report.evaluation or EvaluationRecord(scored_split="")
        predictions = read_predictions(self.folder)
        target = self._pair(scores.scored_split, predictions, scores)
        others = tuple(self._mixed_pairs(scores))
        evidence = Evidence(
            target=target,
            others=others,
            full=scores.after,
            cut=scores.after_short,
            contexts=self._contexts(predictions, scores),
            quantize=recipe.model.quantize,
            merge=self.report.merge,
            task=recipe.model.task,
        )
        scored = self._scored()
        leaked = self._leaked(scored)
        if leaked is not None:
            evidence = replace(
                evidence, leaked_recordings=leaked.recordings, leaked_sentences=leaked.sentences
            )
        try:
            return self._heard(evidence, scored, leaked, predictions)
        except WhisperPeftError as error:
            why = f"the models could not be heard: {error}"
            return replace(evidence, unheard=why, unrounded=why)

    def _scored(self) -> Source | None:
        """Open the scored split; None where it has gone or stood in memory."""
        try:
            refuse_held_in_memory(self.recipe)
            return open_split(self.recipe.data, "eval")
        except WhisperPeftError:
            return None

    def _heard(
        self, evidence: Evidence, scored: Source | None, leaked: LeakedRows | None, predictions: Predictions
    ) -> Evidence:
        """Return the evidence with what both models wrote."""
        tuned = load_run_or_model(str(self.folder), self.section)
        tokenizer = tuned.tokenizer if tuned.is_multilingual else None
        recipe = self.recipe
        if scored is not None:
            told = settle_language(recipe.model.language, scored, tuned)
            recipe, scored = told.recipe(recipe), told.source(scored)
        texts = [one.reference for one in predictions.after.values()]
        known = {*(leaked.learned if leaked else ()), *map(sentence_digest, texts)}
        gathered = gather(
            recipe,
            scored,
            budget=self._budget,
            multilingual=tuned.is_multilingual,
            retention=self.retention,
            with_brought=self.retention is None,
            known=known,
        )
        after = self._hear(tuned, recipe, gathered)
        device = tuned.device
        del tuned
        before = self._hear(load_whisper(recipe.model, device=device), recipe, gathered)
        rounded, why = self._rounded(scored, recipe, predictions)
        pairs = (*evidence.others, *_heard_pairs(before, after, recipe))
        written = [_with_language(pair, tokenizer, recipe.model.task) for pair in pairs]
        target = evidence.target and _with_language(evidence.target, tokenizer, recipe.model.task)
        return replace(
            evidence,
            target=target,
            others=tuple(written),
            missing=gathered.missing,
            joined=gathered.joined,
            multilingual=tokenizer is not None,
            before=before,
            after=after,
            rounded=rounded,
            unrounded=why,
        )

    def _hear(self, whisper: Whisper, recipe: Recipe, gathered: Gathered) -> Hearing:
        first = next((one.language for one in gathered.material.windows), None)
        return hear(
            whisper,
            gathered.material,
            section=recipe.eval,
            language=recipe.model.language or first,
            task=recipe.model.task,
        )

    def _leaked(self, scored: Source | None) -> LeakedRows | None:
        """Return which scored rows were learned; None where nobody can look."""
        if scored is None or scored.is_stream:
            return None
        try:
            return find_leaked(scored, trained_sources(self.recipe))
        except WhisperPeftError:
            return None

    def _pair(self, name: str, predictions: Predictions, scores: EvaluationRecord) -> Pair | None:
        alike = scored_alike(predictions.before, predictions.after).predictions
        if scores.after is None or not {"before", "after"} <= set(alike):
            return None
        return Pair(name, alike["before"], alike["after"], scores.after.normalizer)

    def _contexts(self, predictions: Predictions, scores: EvaluationRecord) -> Pair | None:
        """Return what the tuned model wrote at full and at cut context; None where that was not kept."""
        at_both = replace(predictions, before=predictions.after, after=predictions.after_short)
        return self._pair(scores.scored_split, at_both, scores)

    def _mixed_pairs(self, scores: EvaluationRecord) -> Iterator[Pair]:
        """Yield what was scored beside the main source."""
        shares = {one.name: one.share for one in self.report.data.mixed} if self.report.data else {}
        for name, result in (scores.after.sources if scores.after else {}).items():
            pair = self._pair(name, read_predictions(self.folder, name), scores)
            if pair is not None:
                yield replace(pair, normalizer=result.normalizer, learned=shares.get(name, 0.0))

    def _rounded(
        self, scored: Source | None, recipe: Recipe, predictions: Predictions
    ) -> tuple[Pair | None, str]:
        """Return scored utterances in float and in rounded weights, or why there are none."""
        merged = self.folder / (MODEL if recipe.adapter.method == "full" else MERGED)
        if not self._budget.rounded:
            return None, QUICK_ONLY
        if scored is None:
            return None, "the scored speech cannot be opened"
        if not merged.is_dir() or recipe.merge.scale != 1:
            return None, "the run has no merged model of what was scored"
        in_float = recipe.model.quantize == "none"
        fields = {"name": str(merged), "quantize": "int8" if in_float else "none"}
        rows = list(draw_evenly(scored, self._budget.rounded))
        try:
            other = evaluate_utterances(
                load_whisper(recipe.model.model_copy(update=fields)),
                rows,
                section=recipe.eval.model_copy(update={"max_utterances": None}),
                language=recipe.model.language,
                task=recipe.model.task,
            ).predictions
        except WhisperPeftError as error:
            return None, str(error)
        stored = {one.id: one for one in predictions.after.values()}
        both = [(stored[one.id], one) for one in other if one.id in stored]
        if not both:
            return None, "the utterances that were heard are not among those that were scored"
        first, second = zip(*(both if in_float else [(b, a) for a, b in both]), strict=True)
        return Pair(recipe.data.eval, tuple(first), tuple(second), recipe.eval.normalizer), ""


def _heard_pairs(before: Hearing, after: Hearing, recipe: Recipe) -> Iterator[Pair]:
    """Yield the other speech that both models have just heard."""
    for name, rows in after.retention.items():
        earlier: dict[str, Prediction] = {one.id: one for one in before.retention[name]}
        both = tuple(one for one in rows if one.id in earlier)
        yield Pair(name, tuple(earlier[one.id] for one in both), both, recipe.eval.normalizer)


def _with_language(pair: Pair, tokenizer: Any, task: str) -> Pair:
    """Return a pair with the languages that its transcripts look like, where the model knows several."""
    expected = "en" if task == "translate" else pair.language
    if tokenizer is None or expected is None:
        return pair
    found = [
        written_language([one.hypothesis for one in rows], expected, tokenizer)
        for rows in (pair.before, pair.after)
    ]
    before, after = found
    return pair if before is None or after is None else replace(pair, written=(before, after))
