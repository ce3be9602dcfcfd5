"""doctor() tries everything once, and says what to do about what does not work."""

import json

import huggingface_hub
import pytest

from whisper_peft.diagnostics import examination, surroundings
from whisper_peft.diagnostics.checks import Check
from whisper_peft.diagnostics.examination import doctor
from whisper_peft.terminal import diagnosis_text

RUNTIMES = "transformers faster-whisper whisper-cpp onnxruntime openai-whisper"
EXPECTED = f"""Python CPU GPU memory disk
fp32 bf16 fp16 int8 nf4 flac wav mp3 ogg m4a server page ray {RUNTIMES}
whisper-tiny.en whisper-base Hub [ctranslate2] [ggml] [onnx] [serve] [cluster] [search]"""


@pytest.fixture
def diagnosis(monkeypatch):
    """A diagnosis without the processes, which have tests of their own."""
    monkeypatch.setattr(
        examination, "try_apart", lambda group, attempts: [Check(name, True, group) for name in attempts]
    )
    monkeypatch.setattr(
        examination, "try_runtime", lambda name: Check(name.replace("_", "-"), False, "gone", "get it")
    )
    return doctor()


def checks(diagnosis):
    return {check.name: check for check in diagnosis.checks}


@pytest.mark.slow
def test_everything_that_is_installed_works():
    found = doctor()
    assert not [check for check in found.checks if not check.works and check.name not in ("GPU", "Hub")]


def test_everything_is_tried_once(diagnosis):
    names = [check.name for check in diagnosis.checks]
    assert len(names) == len(set(names))
    assert set(EXPECTED.split()) <= set(names)


def test_the_offline_switch_is_respected(diagnosis):
    assert checks(diagnosis)["Hub"].detail == "switched off by HF_HUB_OFFLINE"


def test_the_switch_is_the_one_that_the_hub_library_reads(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # as TRANSFORMERS_OFFLINE=1 does
    assert surroundings.hub().detail == "switched off by HF_HUB_OFFLINE"


def test_a_hub_out_of_reach_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setattr(surroundings, "is_offline_mode", lambda: False)  # the tests' own network is blocked
    found = surroundings.hub()
    assert not found.works
    assert "give model.name and data.source as folders" in found.todo


def test_what_does_not_work_comes_with_what_to_do(diagnosis):
    without = [check.name for check in diagnosis.checks if not check.works and not check.todo]
    assert not without


def test_the_findings_are_json(diagnosis):
    plain = json.loads(json.dumps(diagnosis.to_dict()))
    assert len(plain["checks"]) == len(diagnosis.checks)
    assert plain["checks"][0].keys() == {"name", "works", "detail", "todo"}


def test_a_line_is_printed_for_each_check_and_each_remedy(diagnosis):
    remedies = sum(bool(check.todo) for check in diagnosis.checks)
    assert len(diagnosis_text(diagnosis).splitlines()) == len(diagnosis.checks) + remedies
