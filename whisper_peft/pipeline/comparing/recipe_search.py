"""search(): a recipe with other values, trial by trial (optuna), chosen on held-out training speakers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_peft.data.splits import HELD_OUT
from whisper_peft.errors import RecipeError, StorageError, TrainingError
from whisper_peft.pipeline.comparing.learning_curves import is_finished
from whisper_peft.pipeline.comparing.search_space import Dimension, dimensions, overrides_of
from whisper_peft.pipeline.runs.finetuning import finetune
from whisper_peft.pipeline.runs.transcript_store import take_over_transcripts
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.overrides import apply_overrides, given_overrides
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import recipe_yaml, write_recipe
from whisper_peft.reporting.run_report import read_report, write_text
from whisper_peft.reporting.values.search_values import SearchResult, SearchTrial, TrialState
from whisper_peft.training.events import Event

if TYPE_CHECKING:
    from optuna import Study, Trial

TRIALS = 20
VARIED = ("rank", "scale", "learning_rate", "targets", "augmentation")

STEPS_BETWEEN = 20
"""Steps between the scores by which a trial is pruned, where the recipe does not say."""

JOURNAL, RESULT_FILE, BEST_FILE = "trials.log", "search.json", "best.yaml"


def search(
    recipe: str | Path | Recipe,
    *,
    trials: int = TRIALS,
    vary: Sequence[str] = VARIED,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    augment: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    output_dir: str | Path | None = None,
) -> SearchResult:
    """Look for better values of a recipe, and write the best one as YAML.

    A tenth of the training rows, whole speakers where it can be, is held out and chooses; the split that the
    recipe scores is never opened. A trial that is worse than the median of the others at the same step is
    pruned. A search that was stopped goes on where it was, with the trial that was running first.

    Args:
        recipe: A recipe, the name of one, or a YAML file. Its own values are the first trial.
        trials: How many to end with, those of earlier calls included.
        vary: Any of rank, scale (lora_alpha / r), learning_rate, targets, augmentation.
        model: Fields of the section to override, as in `finetune`. So for the other sections.
        data: Overrides.
        augment: Overrides.
        targets: Overrides.
        adapter: Overrides.
        train: Overrides.
        eval: Overrides, such as `{"steps": 10}`: how often a trial is scored.
        output_dir: Folder of the trials. None: `runs/NAME-search`.

    Raises:
        RecipeError: If optuna is missing, or something cannot be varied.
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> found = search("lora-librispeech", data={"source": "LibriSpeech"}, trials=10)  # doctest: +SKIP
        >>> print(found.sentence())  # doctest: +SKIP
    """
    sections = {"model": model, "data": data, "augment": augment, "targets": targets, "adapter": adapter}
    chosen = resolve_recipe(recipe, given_overrides(**sections, train=train, eval=eval))
    if trials < 1:
        raise RecipeError(f"trials is {trials}", "nothing would be tried", "give at least 1")
    varied = dimensions(chosen, vary)
    folder = Path(output_dir or chosen.output_dir or f"runs/{chosen.name}-search")
    searching = Searching(chosen, varied, folder)
    searching.run(trials)
    return searching.result()


@dataclass
class Searching:
    """One search, whose trials lie in a journal in its folder."""

    recipe: Recipe
    varied: Mapping[str, Dimension]
    folder: Path

    def __post_init__(self) -> None:
        self.study = self._study()

    def run(self, trials: int) -> None:
        """Try until so many trials have ended."""
        self._take_up()
        while len(self._ended()) < trials:
            self._try(self.study.ask())

    def result(self) -> SearchResult:
        """Return what was tried, after writing it and the best recipe.

        Raises:
            TrainingError: If no trial came to its end.
        """
        ended = self._ended()
        finished = [one for one in ended if one.state == "finished" and one.wer is not None]
        if not finished:
            raise TrainingError(
                f"none of {len(ended)} trials came to its end", "", "lower the learning rate, or try more"
            )
        best = min(finished, key=lambda one: one.wer or 0.0)
        file = self.folder / BEST_FILE
        tuned = apply_overrides(self.recipe, overrides_of(best.values, self.recipe))
        write_recipe(with_absolute_paths(tuned.model_copy(update={"output_dir": None})), file)
        scored_on = f"{HELD_OUT} rows of {self.recipe.data.train}"
        result = SearchResult(self.recipe.name, scored_on, tuple(ended), best, str(file), str(self.folder))
        plain = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
        write_text(self.folder / RESULT_FILE, plain + "\n")
        return result

    def _study(self) -> Study:
        optuna = _optuna()
        self.folder.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(self.folder / JOURNAL))
        )
        study: Study = optuna.create_study(
            storage=storage, study_name="search", load_if_exists=True, direction="minimize"
        )
        digest = hashlib.blake2b(self._identity().encode(), digest_size=8).hexdigest()
        if study.user_attrs.get("recipe", digest) != digest:
            raise StorageError(
                f"{self.folder} holds a search of another recipe",
                "its trials would stand beside those of this one",
                "give another --output-dir",
            )
        study.set_user_attr("recipe", digest)
        done = len(study.trials)
        # another seed after each stop: the same one would draw the same values again
        study.sampler = optuna.samplers.TPESampler(seed=self.recipe.train.seed + done, n_startup_trials=5)
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
        return study

    def _identity(self) -> str:
        return recipe_yaml(self.recipe.model_copy(update={"output_dir": None})) + ",".join(self.varied)

    def _take_up(self) -> None:
        """Begin with the recipe's own values; let what was running when a call was stopped run again."""
        from optuna.trial import TrialState as State

        if not self.study.trials:
            self.study.enqueue_trial({name: one.given for name, one in self.varied.items()})
        for trial in self.study.get_trials(states=(State.RUNNING,)):
            self.study.tell(trial.number, state=State.FAIL)
            self.study.enqueue_trial(trial.params)

    def _try(self, trial: Trial) -> None:
        from optuna.trial import TrialState as State

        values = {name: one.draw(trial) for name, one in self.varied.items()}
        folder = self.folder / "trials" / _key(values)
        trial.set_user_attr("folder", str(folder))
        wanted = self._recipe_of(values, folder)

        def listen(event: Event) -> bool:
            if event.result is not None:
                trial.report(event.result.wer, event.step)
            return event.result is not None and bool(trial.should_prune())

        try:
            if not is_finished(folder, wanted):
                take_over_transcripts(folder, folder.parent.glob("*"))
                if finetune(wanted, resume="auto", callbacks=(listen,)).interrupted:
                    raise KeyboardInterrupt(f"stopped in {folder}; the same command goes on there")
        except TrainingError as error:
            trial.set_user_attr("error", str(error))
            self.study.tell(trial, state=State.FAIL)
        else:
            self._tell(trial, folder)

    def _tell(self, trial: Trial, folder: Path) -> None:
        """Tell the study what a run came to."""
        from optuna.trial import TrialState as State

        report = read_report(folder)
        evaluation, train = report.evaluation, report.train
        if evaluation is None or evaluation.after is None or train is None:
            raise StorageError(f"{folder} has no score", "its run was stopped", "run the search again")
        trial.set_user_attr("wer", evaluation.after.wer)
        trial.set_user_attr("interval", list(evaluation.after.wer_interval))
        if train.stopped_by == "callback":
            self.study.tell(trial, state=State.PRUNED)
        else:
            self.study.tell(trial, evaluation.after.wer)

    def _recipe_of(self, values: Mapping[str, Any], folder: Path) -> Recipe:
        """Return the recipe of a trial: scored on held-out training rows, and never on anything else."""
        recipe = apply_overrides(self.recipe, overrides_of(values, self.recipe))
        mix = tuple(
            one.model_copy(update={"eval": None}) for one in self.recipe.data.mix if one.train is not None
        )
        return apply_overrides(
            recipe,
            {
                "data.eval": HELD_OUT,
                "data.dev": HELD_OUT,
                "data.mix": mix,
                "eval.steps": recipe.eval.steps or STEPS_BETWEEN,
                "eval.before": False,
                "eval.short_context": False,
                "eval.health": "off",
                "merge.enabled": False,
                "output_dir": folder,
            },
        )

    def _ended(self) -> list[SearchTrial]:
        found = [(trial, _state(trial)) for trial in self.study.trials]
        return [_ended_trial(trial, state) for trial, state in found if state is not None]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise RecipeError(
            "a search needs optuna", "it is not installed", 'pip install "whisper-peft[search]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _key(values: Mapping[str, Any]) -> str:
    """Return a name that the same values have in every call."""
    text = json.dumps(dict(values), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


def _state(trial: Any) -> TrialState | None:
    """Return how a trial ended; None of one that runs, waits, or was stopped with its process."""
    if trial.state.name == "FAIL" and "error" in trial.user_attrs:
        return "diverged"
    states: dict[str, TrialState] = {"COMPLETE": "finished", "PRUNED": "pruned"}
    return states.get(trial.state.name)


def _ended_trial(trial: Any, state: TrialState) -> SearchTrial:
    attributes = trial.user_attrs
    bounds = attributes.get("interval")
    return SearchTrial(
        trial.number,
        state,
        attributes.get("wer"),
        (bounds[0], bounds[1]) if bounds else None,
        dict(trial.params),
        str(attributes["folder"]),
    )
