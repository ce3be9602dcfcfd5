import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from whisper_peft.measuring import KERNEL_CACHE_VARIABLE, PeakMemory, free_memory_bytes, limit_kernel_cache

HELD_BYTES = 64 * 2**20


def held_memory():
    """Return fresh pages: the heap may have freed ones that are resident still."""
    pages = mmap.mmap(-1, HELD_BYTES)
    pages.write(b"1" * HELD_BYTES)
    return pages


def test_a_peak_that_is_over_before_the_block_ends_is_seen():
    with PeakMemory(interval_s=0.002) as memory, held_memory():
        threading.Event().wait(0.1)
    assert memory.peak_bytes - memory.before_bytes > 0.9 * HELD_BYTES


def test_what_was_held_before_does_not_count():
    with held_memory(), PeakMemory(interval_s=0.002) as memory:
        threading.Event().wait(0.02)
    assert memory.peak_bytes - memory.before_bytes < 0.5 * HELD_BYTES


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [("max", 5, None), ("1000", 400, 600), ("1000", 1400, 0), (str(2**60), 5, None)],
)
def test_a_containers_limit_bounds_the_free_memory(monkeypatch, limit, used, left):
    files = {"memory.max": f"{limit}\n", "memory.stat": f"anon {used}\nfile 99999\n"}
    monkeypatch.setattr(Path, "read_text", lambda path, **encoding: files[path.name])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**40}))
    assert free_memory_bytes() == (2**40 if left is None else left)


def test_the_peak_of_a_small_process_is_not_that_of_the_large_one_that_started_it() -> None:
    held = bytearray(300_000_000)
    code = "from whisper_peft.measuring import peak_memory_bytes; print(peak_memory_bytes())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(ended.stdout) < len(held) / 2


def test_few_kernels_are_kept_of_many_shapes():
    program = """
import torch
from torch.backends import mkldnn
from whisper_peft.measuring import KERNEL_CACHE, limit_kernel_cache

limit_kernel_cache()
weight = torch.ones(16, 80, 3)
with mkldnn.verbose(mkldnn.VERBOSE_ON_CREATION), torch.no_grad():
    for length in [300, *range(400, 403), 300, *range(500, 500 + KERNEL_CACHE), 300]:
        torch.nn.functional.conv1d(torch.ones(1, 80, length), weight)
"""
    environment = {name: value for name, value in os.environ.items() if name != KERNEL_CACHE_VARIABLE}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    made = [line for line in told.splitlines() if "create:" in line and "iw300ow298" in line]
    assert ["cache_hit" in line for line in made] == [False, True, False]


@pytest.mark.parametrize("told", [None, "8"])
def test_a_number_of_kernels_from_outside_stays(monkeypatch, told):
    monkeypatch.delenv(KERNEL_CACHE_VARIABLE, raising=False)
    if told is not None:
        monkeypatch.setenv(KERNEL_CACHE_VARIABLE, told)
    limit_kernel_cache()
    assert os.environ[KERNEL_CACHE_VARIABLE] == (told or "64")
