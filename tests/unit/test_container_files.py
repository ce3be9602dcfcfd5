"""Dockerfile, compose.yaml and .dockerignore, read as far as they can be without Docker."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import whisper_peft
from whisper_peft.commands import VERBS


@pytest.fixture
def services(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text(encoding="utf-8"))["services"]
    return found


@pytest.fixture
def instructions(root: Path) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", (root / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


class CalledError(Exception):
    """Raised in place of the work, with what it was asked for."""


@pytest.mark.parametrize("service", ["demo", "gpu", "serve"])
def test_commands_of_the_services_are_the_command_lines_own(
    services: dict[str, Any], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, *words = shlex.split(services[service]["command"])

    def called(*args: Any, **options: Any) -> None:
        raise CalledError(args, options)

    monkeypatch.setattr(whisper_peft, verb, called, raising=False)
    with pytest.raises(CalledError):
        VERBS[verb](words)


def test_server_is_published_on_loopback_only_and_confined(services: dict[str, Any]) -> None:
    serve = services["serve"]
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
    assert next(volume for volume in serve["volumes"] if ":/model" in volume).endswith(":ro")
    assert serve["read_only"]
    assert serve["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in serve["security_opt"]
    assert {"cpus", "memory", "pids"} <= serve["deploy"]["resources"]["limits"].keys()


def test_only_the_server_is_asked_for_its_health(services: dict[str, Any]) -> None:
    assert {name for name, one in services.items() if not one.get("healthcheck", {}).get("disable")} == {
        "serve"
    }


def test_image_runs_as_nobody_special(instructions: list[tuple[str, str]]) -> None:
    names = [name for name, _ in instructions]
    assert instructions[names.index("USER")][1] not in ("root", "0")
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")
    assert json.loads(dict(instructions)["ENTRYPOINT"]) == ["whisper-peft"]


def test_image_keeps_no_caches(instructions: list[tuple[str, str]]) -> None:
    runs = [rest for name, rest in instructions if name == "RUN"]
    assert all("--no-cache-dir" in rest for rest in runs if "pip install" in rest)
    assert all("rm -rf /var/lib/apt/lists" in rest for rest in runs if "apt-get" in rest)


def test_torch_comes_from_the_index_that_is_named(instructions: list[tuple[str, str]]) -> None:
    assert ("ARG", 'TORCH_INDEX=""') in instructions
    torch = next(rest for name, rest in instructions if name == "RUN" and rest.endswith(" torch"))
    assert '--index-url "$TORCH_INDEX"' in torch


def test_health_is_asked_where_the_server_answers(instructions: list[tuple[str, str]]) -> None:
    pytest.importorskip("fastapi")
    from whisper_peft.deploy.serving.guards import OPEN_PATHS

    check = dict(instructions)["HEALTHCHECK"]
    asked = re.search(r"127\.0\.0\.1:8000(/\w+)", check)
    assert asked is not None
    assert asked[1] in OPEN_PATHS
    compile(json.loads(check.split("CMD ", 1)[1])[2], "healthcheck", "exec")


def test_whatever_is_copied_is_there_and_reaches_the_build(
    root: Path, instructions: list[tuple[str, str]]
) -> None:
    admitted = [
        line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    copied = [source for name, rest in instructions if name == "COPY" for source in rest.split()[:-1]]
    assert copied
    for source in copied:
        assert (root / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in admitted), source


def test_wheel_finds_all_its_parts_in_the_image(root: Path, instructions: list[tuple[str, str]]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    parts = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    copied = {source for name, rest in instructions if name == "COPY" for source in rest.split()[:-1]}
    assert set(parts) <= copied


def test_extras_of_the_image_exist(root: Path, instructions: list[tuple[str, str]]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    extras = next(rest for name, rest in instructions if name == "ARG" and rest.startswith("EXTRAS="))
    named = extras.removeprefix("EXTRAS=").strip('"').split(",")
    assert set(named) <= project["project"]["optional-dependencies"].keys()
