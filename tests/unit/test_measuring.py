import mmap
import threading

from whisper_peft.measuring import PeakMemory

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
