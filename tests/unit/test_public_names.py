import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import whisper_peft


def modules():
    return [found.name for found in pkgutil.walk_packages(whisper_peft.__path__, "whisper_peft.")]


@pytest.fixture(scope="module", autouse=True)
def _every_module_is_imported():
    for name in modules():
        importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in whisper_peft.__all__ if name != "__version__"])
def test_a_public_name_is_no_module_once_everything_is_imported(name):
    assert callable(getattr(whisper_peft, name))


def test_no_module_has_the_name_of_a_public_function():
    planned = {
        "finetune",
        "load",
        "transcribe",
        "evaluate",
        "merge",
        "export",
        "report",
        "compare",
        "check",
        "serve",
    }
    public = planned | set(whisper_peft.__all__)
    assert {name.rpartition(".")[2] for name in modules() if name.count(".") == 1} & public == set()


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(whisper_peft.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == whisper_peft._HOME_OF


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'finetun'"):
        _ = whisper_peft.finetun


def test_dir_lists_the_public_names():
    assert set(dir(whisper_peft)) == set(whisper_peft.__all__)
