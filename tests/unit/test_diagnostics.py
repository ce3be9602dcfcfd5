import json

import pytest

from whisper_peft import diagnostics
from whisper_peft.diagnostics import doctor
from whisper_peft.terminal import diagnosis_text


@pytest.fixture(scope="module")
def diagnosis():
    return doctor()


def checks(diagnosis):
    return {check.name: check for check in diagnosis.checks}


def test_everything_is_tried_once(diagnosis):
    names = [check.name for check in diagnosis.checks]
    assert len(names) == len(set(names))
    expected = "Python CUDA fp32 bf16 int8 nf4 flac wav mp3 ogg m4a whisper-tiny.en whisper-base Hub disk"
    assert set(expected.split()) <= set(names)


def test_float_arithmetic_and_lossless_audio_work_everywhere(diagnosis):
    assert all(checks(diagnosis)[name].works for name in ("Python", "fp32", "flac", "wav"))


def test_the_offline_switch_is_respected(diagnosis):
    assert checks(diagnosis)["Hub"].detail == "switched off by HF_HUB_OFFLINE"


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


def test_a_library_that_is_too_old_or_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(
        diagnostics.importlib.metadata, "requires", lambda _: ["numpy>=999", "no-such-package>=1", "rich>=1"]
    )
    found = {check.name: check for check in diagnostics._libraries()}
    assert found.keys() == {"numpy", "no-such-package"}
    assert found["numpy"].todo == "pip install 'numpy>=999'"
    assert found["no-such-package"].detail == "not installed"


def test_a_failing_attempt_is_reported_and_not_raised():
    def attempt():
        raise RuntimeError("no kernel\nand much more")

    check = diagnostics._tried("int8", attempt, "reinstall")
    assert (check.works, check.detail, check.todo) == (False, "RuntimeError: no kernel", "reinstall")


def test_a_full_disk_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(diagnostics, "_NEEDED_BYTES", 10**18)
    assert not diagnostics._disk(tmp_path).works
