"""The scores of a run: before, so far, after and at cut context, of the main source and of other speech."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from accelerate import Accelerator

from whisper_peft.data.sources.opening import Source
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.measuring import StageClock
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.probing import with_probes
from whisper_peft.pipeline.runs.speech import Speech, count_to_score
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.reporting.console.progress import EvalProgress, SteadyConsole
from whisper_peft.reporting.figures import interval, percent, reasons, utterances
from whisper_peft.types import EvalResult


@dataclass(frozen=True)
class RunScores:
    """Scores the splits of a run, and says what came out.

    Args:
        speech: The splits, with the recipe.
        accelerator: The processes, each of which transcribes a share.
        console: Where it is said.
        clock: Measures what each split takes.
    """

    speech: Speech
    accelerator: Accelerator
    console: SteadyConsole
    clock: StageClock

    def all(self, whisper: Whisper, when: str, stored: EvalResult | None = None) -> EvalResult:
        """Score the main source, and beside it other speech; what is stored is not scored again."""
        main = stored or self._probed(self._score(whisper, self.speech.eval, when), whisper)
        sources = {
            other.name: main.sources.get(other.name)
            or self._score(whisper, other.eval, f"{when} on {other.name}")
            for other in self.speech.mixed
            if other.eval is not None
        }
        return replace(main, sources=sources)

    def so_far(self, whisper: Whisper, check: Callable[[], None]) -> EvalResult:
        """Score a model that learns, on what the best step is chosen by.

        Args:
            whisper: The model.
            check: Called after each batch; it may give the evaluation up.
        """
        return self._score(whisper, self.speech.dev, "so far", check=check)

    def at_cut_context(self, whisper: Whisper) -> EvalResult:
        """Score the tuned model on the main source once more, heard only as long as the speech lasts."""
        section = self.speech.recipe.eval.model_copy(update={"audio_context": "cut"})
        return self._score(whisper, self.speech.eval, "after, cut context", section=section)

    def _probed(self, scores: EvalResult, whisper: Whisper) -> EvalResult:
        """Return scores with the probes, where the recipe wants them."""
        recipe = self.speech.recipe
        if recipe.eval.probes:
            self._say("probing timestamps, long recordings and silence")
        return with_probes(scores, whisper, self.speech.eval, recipe=recipe, accelerator=self.accelerator)

    def _score(
        self,
        whisper: Whisper,
        source: Source,
        label: str,
        *,
        section: EvalSection | None = None,
        check: Callable[[], None] | None = None,
    ) -> EvalResult:
        recipe = self.speech.recipe
        total = count_to_score(source, recipe.eval)
        with self.clock(f"score {label}"), EvalProgress(total, f"WER {label}", console=self.console) as shown:

            def count(done: int) -> None:
                shown.update(done)
                if check is not None:
                    check()

            result = evaluate_utterances(
                whisper,
                source,
                section=section or recipe.eval,
                language=recipe.model.language,
                task=recipe.model.task,
                rank=self.accelerator.process_index,
                world_size=self.accelerator.num_processes,
                progress=count,
            )
        scored = f"{percent(result.wer)} {interval(result.wer_interval)}, {utterances(result.utterances)}"
        skipped = f", skipped: {reasons(result.skipped)}" if result.skipped else ""
        self._say(f"WER {label}: {scored}{skipped}")
        return result

    def _say(self, sentence: str) -> None:
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
