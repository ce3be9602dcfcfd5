"""check() tells what a run takes, and every problem at once, without loading weights."""

import json

import pytest

import whisper_peft
from whisper_peft.errors import TrainingError
from whisper_peft.measuring import StageClock
from whisper_peft.pipeline import forecasting
from whisper_peft.pipeline.forecasting import check
from whisper_peft.pipeline.runs import expectation
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.reporting.run_report import ForecastRecord
from whisper_peft.training.planning.machine_speed import MachineSpeed

GIB = 2**30


def spoken(root, **data):
    return {"source": str(root / "tests/data/prompts/fr"), "train": "train", "eval": "test", **data}


BASE = {"name": "openai/whisper-base", "language": "fr"}


def test_a_plan_tells_steps_memory_time_and_disk(root, monkeypatch):
    monkeypatch.setattr("torch.nn.Module.load_state_dict", None)  # no weights are read
    plan = check("lora-librispeech", model=BASE, data=spoken(root), train={"max_steps": 20})
    assert plan.fits, plan.problems
    assert plan.forecast.steps == 20
    assert plan.forecast.trainable_parameters == 4_325_376
    assert list(plan.forecast.stages) == [
        "load",
        "score before",
        "train",
        "score after",
        "score after, cut context",
        "merge",
        "health",
    ]
    assert 0.5 * GIB < plan.forecast.peak_memory_bytes < 8 * GIB
    assert plan.forecast.disk_bytes["adapter"] == 4 * 4_325_376
    assert plan.download_bytes == 0
    assert json.loads(json.dumps(plan.to_dict()))["fits"]


@pytest.fixture
def steady(monkeypatch):
    """A machine that other work makes no slower from one plan to the next."""
    speed = MachineSpeed(products_per_second=2e11, fresh_bytes_per_second=3.6e9)
    monkeypatch.setattr("whisper_peft.pipeline.forecasting.measure_speed", lambda *told: speed)


def stages_of(root, model=BASE, **sections):
    return check("lora-librispeech", model=model, data=spoken(root), **sections).forecast.stages


def test_a_plan_warns_of_a_rate_that_its_method_learns_nothing_at(root):
    plan = check("lora-librispeech", model=BASE, adapter={"method": "ia3"}, data=spoken(root))
    assert [note for note in plan.notes if note.startswith("train.learning_rate is 0.0003: IA3")]


@pytest.mark.usefixtures("steady")
def test_the_check_of_the_finished_run_is_planned_by_what_it_hears(root):
    off, quick, full = (stages_of(root, eval={"health": level}) for level in ("off", "quick", "full"))
    assert "health" not in off
    assert full["health"].seconds > 5 * quick["health"].seconds > 0


def test_kernels_that_training_in_bf16_made_are_held_to_the_end(root):
    fp32, bf16 = (stages_of(root, BASE | {"precision": precision}) for precision in ("fp32", "bf16"))
    assert bf16["merge"].memory_bytes > fp32["merge"].memory_bytes + 2**28


def test_text_in_capitals_is_heard_first_and_that_takes_time(root, tmp_path):
    folder = root / "tests/data/prompts/fr"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    shouted = [
        {**row, "file_name": str(folder / row["file_name"]), "text": row["text"].upper()} for row in rows
    ]
    path = tmp_path / "shouted.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in shouted), encoding="utf-8")
    plan = check("lora-librispeech", model=BASE, data={**spoken(root), "source": str(path)})
    assert list(plan.forecast.stages)[:2] == ["load", "restore text"]


def test_epochs_become_the_steps_that_training_takes(root):
    plan = check("lora-librispeech", model=BASE, data=spoken(root), train={"max_steps": None, "epochs": 3})
    assert plan.forecast.steps == 3 * -(-144 // 8)


@pytest.mark.usefixtures("steady")
def test_a_mixture_is_planned_with_all_that_is_learned_and_scored(root):
    english = {"source": str(root / "tests/data/prompts/en"), "language": "en", "eval": "test"}
    mix = [{**english, "train": "train", "share": 0.2}, {**english, "train": None, "name": "kept"}]
    plan = check(
        "lora-librispeech",
        model=BASE,
        data=spoken(root, mix=mix),
        train={"max_steps": None, "epochs": 2},
        eval={"short_context": False},
    )
    alone = check("lora-librispeech", model=BASE, data=spoken(root), train={"max_steps": None, "epochs": 2})
    assert plan.fits, plan.problems
    assert plan.forecast.steps == 2 * -(-(144 + 36) // 8)
    assert plan.forecast.stages["train"].seconds > 1.1 * alone.forecast.stages["train"].seconds
    assert [name for name in plan.forecast.stages if name.startswith("score")] == [
        "score before",
        "score before on en",
        "score before on kept",
        "score after",
        "score after on en",
        "score after on kept",
    ]
    assert any(sentence.startswith("kept: eval: test of") for sentence in plan.sentences)


@pytest.mark.parametrize(
    ("mix", "word"),
    [
        ([{"source": "missing.jsonl", "share": 0.2}], "missing.jsonl"),
        ([{"source": "{en}", "language": "en", "train": "lessons"}], "lessons"),
        ([{"source": "{en}", "language": "en", "share": 0.6}, {"source": "{en}", "share": 0.5}], "shares"),
    ],
)
def test_what_would_stop_the_run_of_a_mixture_is_a_problem(root, mix, word):
    english = str(root / "tests/data/prompts/en")
    named = [{**one, "source": one["source"].format(en=english)} for one in mix]
    plan = check("lora-librispeech", model=BASE, data=spoken(root, mix=named))
    told = [problem for problem in plan.problems if word in problem]
    assert len(told) == 1, plan.problems


def test_processes_on_one_cpu_share_the_memory_that_is_free(root, monkeypatch):
    alone = check("lora-librispeech", model=BASE, data=spoken(root), train={"max_steps": 20})
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    both = check("lora-librispeech", model=BASE, data=spoken(root), train={"max_steps": 20})
    assert both.free_memory_bytes < 0.7 * alone.free_memory_bytes
    assert any("2 processes" in note for note in both.notes)
    assert both.forecast.steps == alone.forecast.steps


def test_problems_are_told_all_at_once(root, tmp_path):
    plan = check(
        "lora-librispeech",
        model={"name": "somebody/whisper-huge"},
        data={"source": str(tmp_path / "missing")},
        train={"early_stopping_patience": 2},
    )
    told = "\n".join(plan.problems)
    assert not plan.fits
    assert plan.forecast is None
    assert "early_stopping_patience" in told
    assert "somebody/whisper-huge" in told
    assert "missing" in told


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ({"model": {"name": "openai/whisper-base"}, "data": {"language_column": None}}, "language"),
        ({"model": BASE, "adapter": {"targets": "kk_proj"}}, "kk_proj"),
        ({"model": BASE, "data": {"text_column": "words"}}, "words"),
        ({"model": BASE, "data": {"train": "lessons"}}, "lessons"),
    ],
)
def test_what_would_stop_the_run_is_a_problem(root, tmp_path, overrides, word):
    metadata = (root / "tests/data/prompts/fr/metadata.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in metadata]
    manifest = tmp_path / "rows.jsonl"
    names = ("file_name", "text", "split", "duration_s")
    with manifest.open("w") as lines:
        for row in rows:
            kept = {name: row[name] for name in names}
            kept["audio"] = str(root / "tests/data/prompts/fr" / kept.pop("file_name"))
            lines.write(json.dumps(kept) + "\n")
    data = {**spoken(root), "source": str(manifest), **overrides.get("data", {})}
    plan = check("lora-librispeech", **{**overrides, "data": data})
    assert any(word in problem for problem in plan.problems), plan.problems


def test_a_run_too_large_is_told_with_what_fits(root, monkeypatch):
    monkeypatch.setattr(forecasting, "free_bytes", lambda machine: 6 * GIB)
    plan = check(
        "lora-librispeech",
        model=BASE,
        data=spoken(root),
        train={"batch_size": 64, "audio_context": "full", "part_seconds": None},
    )
    assert not plan.fits
    assert "6.00 GiB are free" in plan.problems[-1]
    assert plan.proposals
    assert all(proposal.peak_memory_bytes <= 6 * GIB for proposal in plan.proposals)


@pytest.mark.parametrize("share", [0.9, 0.4])
def test_a_run_is_warned_of_and_refused_only_without_hope(root, monkeypatch, share):
    recipe = resolve_recipe("lora-librispeech", {"model": BASE, "data": spoken(root)})
    peak = check(recipe).forecast.peak_memory_bytes
    monkeypatch.setattr(expectation, "free_bytes", lambda machine: int(share * peak))
    speech, said = open_speech(recipe), []
    if share < 0.5:
        with pytest.raises(TrainingError, match="whisper-peft check"):
            expectation.expect(recipe, speech, said.append)
    else:
        assert isinstance(expectation.expect(recipe, speech, said.append), ForecastRecord)
        assert "may be killed" in said[0]


def test_check_is_public_and_no_module():
    assert whisper_peft.check is check


def test_stages_add_up_under_their_names():
    clock = StageClock()
    for _ in range(2):
        with clock("score"):
            sum(range(1000))
    assert clock.costs["score"].seconds > 0
    assert clock.costs["score"].peak_memory_bytes > 0
