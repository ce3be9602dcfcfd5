"""The gradient of one optimiser step: gathered over micro-batches, then summed over processes.

Nothing is exchanged while it is gathered: a process whose memory runs short begins its part of the step anew,
with smaller micro-batches, and the others wait for it in the sum.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import Tensor, distributed
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from whisper_peft.data.batches.collation import Batch
from whisper_peft.errors import TrainingError
from whisper_peft.measuring import is_out_of_memory, release_freed_memory
from whisper_peft.model.compiling import CompiledLayers
from whisper_peft.training.checkpoints import RunState
from whisper_peft.training.halving import most_windows, parts_of, parts_within
from whisper_peft.training.loss import SpeechLoss

logger = logging.getLogger(__name__)

BUCKET_BYTES = 25 * 2**20
"""Gradients that are summed over processes at a time, as in torch's DistributedDataParallel."""


class Gradients:
    """Gather gradients in `.grad` of the weights that learn.

    Args:
        module: The loss.
        accelerator: The processes.
        scaler: Scales the loss where gradients are in fp16.
        seed: Seed of the run, of dropout here.
        longest_part_s: Audio seconds that are computed at once.
        compiled: The layers to compute in; None: the model's own.
    """

    def __init__(
        self,
        module: SpeechLoss,
        accelerator: Accelerator,
        scaler: torch.amp.GradScaler,
        *,
        seed: int,
        longest_part_s: float,
        compiled: CompiledLayers | None = None,
    ) -> None:
        self.module, self.accelerator, self.scaler, self.seed = module, accelerator, scaler, seed
        self.longest_part_s, self.compiled = longest_part_s, compiled
        self.weights = [weight for weight in module.parameters() if weight.requires_grad]
        if accelerator.num_processes > 1:
            for weight in self.weights:
                broadcast(weight.data)

    def gather(self, batches: Sequence[Batch], *, tokens: float, state: RunState) -> tuple[float, bool]:
        """Return this process's summed loss in nats, and whether its micro-batches had to be halved.

        Args:
            batches: This process's micro-batches.
            tokens: Target tokens of the step, over all processes.
            state: Tells the step, and into how many parts micro-batches are dealt; that may grow.

        Raises:
            TrainingError: If a single utterance does not fit the memory.
            ModelError: If layers cannot be compiled here.
        """
        before = state.micro_batch_parts
        with self.compiled.in_use() if self.compiled else nullcontext():
            while (summed := self._try(batches, tokens, state)) is None:
                self._halve(batches, state)
        if self.accelerator.num_processes > 1:
            self._sum_over_processes()
        return summed, state.micro_batch_parts > before

    @torch.no_grad()
    def hear(self, batches: Sequence[Batch], state: RunState) -> None:
        """Run micro-batches forward and nothing else."""
        for batch in batches:
            for part in parts_of(batch, self._parts(batch, state)):
                self._loss(part)

    def agree(self, state: RunState) -> None:
        """Deal micro-batches into as many parts on all processes: a resumed run knows of one number."""
        if self.accelerator.num_processes > 1:
            state.micro_batch_parts = max(gather_object([state.micro_batch_parts]))

    def _try(self, batches: Sequence[Batch], tokens: float, state: RunState) -> float | None:
        """Return the summed loss, None if memory ran short; whoever calls has let go of the traceback."""
        summed = 0.0
        try:
            for number, batch in enumerate(batches):
                for place, part in enumerate(parts_of(batch, self._parts(batch, state))):
                    self._seed_dropout(state, number, place)
                    loss = self._loss(part)
                    self.scaler.scale(loss * (1 / tokens)).backward()
                    summed += float(loss.detach())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return summed

    def _parts(self, batch: Batch, state: RunState) -> int:
        return max(state.micro_batch_parts, parts_within(batch.frames, self.longest_part_s))

    def _halve(self, batches: Sequence[Batch], state: RunState) -> None:
        for weight in self.weights:
            weight.grad = None
        release_freed_memory()
        parts = max(self._parts(batch, state) for batch in batches)
        if parts >= most_windows(batches):
            seconds = max(max(batch.frames) for batch in batches) / 100
            raise TrainingError(
                f"a single window of {seconds:.1f} s does not fit the memory (step {state.step + 1})",
                "its micro-batch was halved as often as it can be",
                "use --train.gradient-checkpointing, a smaller or quantised model, or a lower "
                "data.max_duration_s",
            )
        state.micro_batch_parts = 2 * parts
        told = (
            "memory ran short in step %d: each micro-batch is dealt into %d parts from now on; the step is "
        )
        logger.warning(told + "taken with all its utterances", state.step + 1, state.micro_batch_parts)

    def _seed_dropout(self, state: RunState, micro_batch: int, part: int) -> None:
        place = [
            self.seed,
            state.step,
            micro_batch,
            self.accelerator.process_index,
            *([part] if part else []),
        ]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1))

    def _loss(self, batch: Batch) -> Tensor:
        def here(tensor: Tensor) -> Tensor:
            return tensor.to(self.module.device, non_blocking=True)

        loss: Tensor = self.module(
            here(batch.samples),
            batch.sample_counts,
            batch.frames,
            batch.token_counts,
            here(batch.decoder_input_ids),
            here(batch.labels),
            batch.keep if batch.keep is None else here(batch.keep),
            batch.recordings,
        )
        return loss

    def _sum_over_processes(self) -> None:
        for weight in self.weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        for bucket in self._buckets():
            flat = _flatten_dense_tensors(bucket)
            distributed.all_reduce(flat)
            for gradient, total in zip(bucket, _unflatten_dense_tensors(flat, bucket), strict=True):
                gradient.copy_(total)

    def _buckets(self) -> Iterator[list[Tensor]]:
        bucket: list[Tensor] = []
        for weight in self.weights:
            if weight.grad is not None:
                bucket.append(weight.grad)
            if sum(gradient.nbytes for gradient in bucket) >= BUCKET_BYTES:
                yield bucket
                bucket = []
        if bucket:
            yield bucket
