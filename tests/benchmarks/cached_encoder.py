"""What a step costs once the encoder's states are kept, beside the same step on states already in memory.

    python tests/benchmarks/cached_encoder.py LibriSpeech --threads 2

Trains LoRA on the decoder of whisper-tiny.en with the loop that every run uses. After each epoch a bare loop
takes the same steps with another copy of the model: the batches are tensors already, the states are in memory
in the decoder's own type, and there is nothing but forward, backward and optimiser. Both take turns, so that
what else the machine does hits both. Prints seconds for each step, and the ratio that later epochs pay.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator

from whisper_peft.data.batches.collation import Batch
from whisper_peft.data.batches.loader import StepLoader
from whisper_peft.model.adapters.attaching import attach_adapter
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.model.segments import Segments
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.training.encoder_cache import EncoderCache
from whisper_peft.training.events import Event
from whisper_peft.training.loop import Training
from whisper_peft.training.loss import SpeechLoss
from whisper_peft.training.optimization import Optimization


def adapted(recipe: Recipe) -> Whisper:
    """Return the model with a fresh adapter on its decoder."""
    whisper = load_whisper(recipe.model)
    attach_adapter(whisper, recipe.adapter, seed=recipe.train.seed)
    return whisper


def kept(training: Training) -> EncoderCache:
    """Return the states that a run keeps."""
    if training.cache is None:
        raise SystemExit(training.cache_sentence)
    return training.cache


class BareLoop:
    """Steps of the decoder on states in memory.

    Args:
        training: The run whose steps are taken again, in the epoch that it has just ended.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.cache = kept(training)
        self.whisper = adapted(training.recipe)
        self.whisper.model.train()
        self.optimization = Optimization(self.whisper, training.recipe.train, training.total_steps)
        self.loss = SpeechLoss(self.whisper)

    def __call__(self, epoch: int) -> list[float]:
        """Return the seconds of each step of an epoch."""
        prepared = [self._prepared(batch) for (batch,) in self._batches(epoch)]
        return [self._step(*inputs) for inputs in prepared]

    def _batches(self, epoch: int) -> list[tuple[Batch, ...]]:
        training = self.training
        loader = StepLoader(training.collator, 0, 1, micro_batches=1, workers=0, mark=self.cache.mark)
        steps = training.plan.steps(epoch=epoch, skip=0)
        return list(loader.load(itertools.islice(steps, training.plan.steps_per_epoch)))

    def _prepared(self, batch: Batch) -> tuple[torch.Tensor, Segments, torch.Tensor, torch.Tensor]:
        states = [self.cache.store.read(recording.digest) for recording in batch.recordings]
        positions = tuple(count // 2 for count in batch.frames)
        joined = torch.cat(states)[None].to(self.whisper.device, self.whisper.precision.weights_dtype)
        ids, labels = (part.to(self.whisper.device) for part in (batch.decoder_input_ids, batch.labels))
        return joined, Segments(positions, batch.token_counts), ids, labels

    def _step(
        self, states: torch.Tensor, segments: Segments, ids: torch.Tensor, labels: torch.Tensor
    ) -> float:
        started = time.perf_counter()
        loss = self.loss.decoder_loss(states, segments, ids, labels)
        (loss / len(labels)).backward()
        float(loss.detach())
        self.optimization.clip()
        self.optimization.step(take=True)
        return time.perf_counter() - started


@dataclass
class Turns:
    """Listens to the run: the seconds of its steps, and of the bare loop's after each epoch but the first."""

    training: Training
    bare: BareLoop
    steps: dict[int, list[float]] = field(default_factory=dict)
    bare_steps: dict[int, list[float]] = field(default_factory=dict)
    hit_shares: dict[int, list[float]] = field(default_factory=dict)
    started: float = 0.0

    def __call__(self, event: Event) -> None:
        """Take the time of a step, logging included."""
        if event.kind == "step":
            epoch = int(event.row["epoch"])
            self.steps.setdefault(epoch, []).append(time.perf_counter() - self.started)
            self.hit_shares.setdefault(epoch, []).append(event.row["encoder_cache_hit_share"])
            if epoch and len(self.steps[epoch]) == self.training.plan.steps_per_epoch:
                self.bare_steps[epoch] = self.bare(epoch)
        self.started = time.perf_counter()


def measure(recipe: Recipe, rows: int | None) -> Turns:
    """Train, and take the same steps again in a bare loop."""
    whisper = adapted(recipe)
    found = open_speech(recipe).check(whisper)
    with tempfile.TemporaryDirectory() as folder:
        utterances = tuple(itertools.islice(found.utterances, rows))
        training = Training(whisper, recipe, utterances, found.collator, Accelerator(cpu=True), Path(folder))
        print(training.cache_sentence)
        turns = Turns(training, BareLoop(training))
        training.callbacks = (turns,)
        training.run()
    return turns


def figures(turns: Turns) -> dict[str, object]:
    """Return mean seconds of a step, and the ratios of whole epochs."""
    ratios = [sum(turns.steps[epoch]) / sum(bare) for epoch, bare in turns.bare_steps.items()]
    later = [seconds for epoch in turns.bare_steps for seconds in turns.steps[epoch]]
    bare = [seconds for steps in turns.bare_steps.values() for seconds in steps]
    return {
        "steps_per_epoch": turns.training.plan.steps_per_epoch,
        "threads": torch.get_num_threads(),
        "first_epoch_step_s": statistics.mean(turns.steps[0]),
        "second_epoch_step_s": statistics.mean(turns.steps[1]),
        "later_epochs_step_s": statistics.mean(later),
        "later_epochs_hit_share": statistics.mean(itertools.chain(*list(turns.hit_shares.values())[1:])),
        "states_in_memory_step_s": statistics.mean(bare),
        "ratio_to_states_in_memory": {
            "minimum": min(ratios),
            "median": statistics.median(ratios),
            "maximum": max(ratios),
        },
        "first_epoch_over_later": statistics.mean(turns.steps[0]) / statistics.mean(later),
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="OpenSLR folder")
    parser.add_argument("--split", default="train-clean-100", help="split to train on")
    parser.add_argument("--rows", type=int, help="at most so many utterances")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--workers", type=int, help="None: as the library chooses")
    parser.add_argument("--cache", choices=("memory", "disk"), default="memory")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    recipe = apply_overrides(
        Recipe(),
        {
            "model": {"name": "openai/whisper-tiny.en", "device": "cpu", "precision": chosen.precision},
            "data": {"source": chosen.data, "train": chosen.split, "eval": chosen.split},
            "adapter": {"targets": "decoder-only"},
            "train": {
                "epochs": chosen.epochs,
                "batch_size": chosen.batch_size,
                "checkpoint_steps": 10**9,
                "workers": chosen.workers,
                "encoder_cache": chosen.cache,
            },
        },
    )
    print(json.dumps(figures(measure(recipe, chosen.rows)), indent=1))


if __name__ == "__main__":
    main()
