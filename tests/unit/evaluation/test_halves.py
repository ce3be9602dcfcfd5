"""Clips that do not fit the memory together are heard in halves, and nothing else changes."""

import pytest
import torch

from whisper_peft.errors import EvaluationError
from whisper_peft.evaluation.halves import in_halves

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB"


def hearing(most, error, tried):
    """Return a function that fails on more than so many rows, and notes how many it was given."""

    def hear(rows):
        tried.append(len(rows))
        if len(rows) > most:
            raise error
        return [f"heard {row}" for row in rows]

    return hear


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), MemoryError()])
def test_rows_that_do_not_fit_are_heard_in_halves_in_their_order(error, caplog):
    tried = []
    heard = in_halves(range(7), hearing(2, error, tried))
    assert heard == [f"heard {row}" for row in range(7)]
    assert tried == [7, 4, 2, 2, 3, 2, 1]
    assert "memory ran short while 7 clips were transcribed" in caplog.text


def test_rows_that_fit_are_heard_once_and_silently(caplog):
    tried = []
    assert len(in_halves(range(7), hearing(7, MemoryError(), tried))) == 7
    assert (tried, caplog.text) == ([7], "")


def test_one_row_that_does_not_fit_is_an_error_that_says_what_helps():
    with pytest.raises(EvaluationError, match=r"does not hold the model and one clip.*int8"):
        in_halves(range(3), hearing(0, torch.OutOfMemoryError(CUDA), []))


def test_another_error_is_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        in_halves(range(3), hearing(0, RuntimeError("mat1 and mat2 shapes"), []))
