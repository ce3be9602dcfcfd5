"""A corpus heard by workers of a Ray cluster, or of one that is started on this machine.

One task reads the source and hands out shards of undecoded rows as they come; an actor for each worker loads
the model once and hears them. What it says comes back in the order in which it is finished. A worker that
dies is started anew by Ray, and its shard is heard again.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from whisper_peft.errors import DataError, WhisperPeftError
from whisper_peft.pipeline.corpora.corpus_hearing import Heard, Hearing, Listener
from whisper_peft.types import Utterance

Shards = Callable[[], Iterator[Sequence[Utterance]]]
"""Reads a source from its first row on, in shards. It is pickled, and called in another process."""


class RayListener:
    """A `Listener` that takes and returns shards as Ray Data's batches of one pickle."""

    def __init__(self, hearing: Hearing) -> None:
        self.listener = Listener(hearing)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Hear each shard of a batch."""
        return {"heard": [pickle.dumps(self.listener.hear(pickle.loads(one))) for one in batch["shard"]]}


def hear_on_ray(shards: Shards, hearing: Hearing, *, workers: int) -> Iterator[list[Heard]]:
    """Yield what workers write down of each shard, as soon as it is finished.

    `RAY_ADDRESS` names a running cluster; without it, one is started here and ended afterwards.

    Args:
        shards: Reads the source.
        hearing: How it is heard.
        workers: Processes that hold the model; each takes a GPU where this machine has one, else a core.

    Raises:
        DataError: If Ray is not installed.
        WhisperPeftError: What a worker raised.
    """
    ray = _started(workers)
    try:
        # a block for each shard: else Ray would gather them all before any is heard
        ray.data.DataContext.get_current().target_max_block_size = 1
        ray.data.DataContext.get_current().enable_progress_bars = False

        def read(_: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
            yield from ({"shard": [pickle.dumps(list(rows))]} for rows in shards())

        reader = ray.data.from_items([0]).map_batches(read, batch_size=1, num_cpus=0)
        heard = reader.map_batches(
            RayListener,
            fn_constructor_args=(hearing,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if torch.cuda.is_available() else 0,
        )
        for batch in heard.iter_batches(batch_size=None, prefetch_batches=0):
            yield from map(pickle.loads, np.asarray(batch["heard"]).tolist())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, WhisperPeftError):
            raise error.cause from None
        raise
    finally:
        ray.shutdown()


def refuse_without_ray() -> None:
    """Refuse several workers where Ray is missing, before any work.

    Raises:
        DataError: If Ray Data cannot be imported.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError:
        todo = 'pip install "whisper-peft[cluster]", or --workers 0'
        raise DataError("--workers needs Ray", "Ray Data is not installed", todo) from None


def _started(workers: int) -> Any:
    """Return Ray, connected to the cluster of RAY_ADDRESS or started here; it reports to nobody."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.ERROR)
    else:
        cores = max(os.cpu_count() or 1, workers)
        ray.init(num_cpus=cores, include_dashboard=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
