"""What a plan says: its stages, its sums, what would stop it, and what would mend that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from whisper_peft.terminal import plan_text

STAGE = SimpleNamespace(seconds=90.0, memory_bytes=2 * 2**30)


def plan(**fields: Any) -> Any:
    forecast = SimpleNamespace(
        stages={"train": STAGE, "score": STAGE},
        steps=54,
        step_seconds=1.5,
        trainable_parameters=4_325_376,
        total_parameters=76_919_296,
        peak_memory_bytes=2 * 2**30,
        seconds=180.0,
        disk_bytes={"checkpoints": 2**30, "merged model": 2**30},
    )
    known = {
        "sentences": ("whisper-base in fp32",),
        "forecast": forecast,
        "free_memory_bytes": 8 * 2**30,
        "free_disk_bytes": 50 * 2**30,
        "download_bytes": None,
        "problems": (),
        "proposals": (),
        "notes": (),
        "fits": True,
    }
    return SimpleNamespace(**{**known, **fields})


def test_a_plan_that_fits_shows_each_stage_and_the_sums() -> None:
    lines = plan_text(plan()).splitlines()
    assert lines[0] == "whisper-base in fp32"
    assert [line.split()[0] for line in lines[2:5]] == ["stage", "train", "score"]
    (disk,) = [line for line in lines if line.startswith("disk")]
    assert "2.00 GiB (checkpoints 1.00 GiB, merged model 1.00 GiB); 50.00 GiB free" in disk
    assert "54 steps of 1.5 s" in next(line for line in lines if line.startswith("time"))
    assert lines[-1] == "it fits"


def test_a_plan_that_would_be_stopped_says_by_what_and_what_fits() -> None:
    proposal = SimpleNamespace(peak_memory_bytes=2**30, seconds=60.0, flags="--model.quantize int8")
    told = plan_text(
        plan(
            fits=False,
            problems=("memory is short",),
            proposals=(proposal,),
            notes=("a guess",),
            download_bytes=2**30,
        )
    ).splitlines()
    assert "problem     memory is short" in told
    assert "note        a guess" in told
    assert any(line.startswith("download    1.00 GiB") for line in told)
    assert any(line.startswith("fits with   --model.quantize int8  (1.00 GiB") for line in told)
    assert told[-1] == "it would be stopped"


def test_without_a_forecast_the_problems_stand_alone() -> None:
    told = plan_text(plan(forecast=None, problems=("no speech",), fits=False)).splitlines()
    assert told == ["whisper-base in fp32", "problem     no speech", "", "it would be stopped"]
