"""The reference is made from the code: nothing is missing from it, and it says what the code says."""

import ast
import re
from pathlib import Path

import pytest

import whisper_peft
from generated_reference import GENERATED, fill_in, name_folders
from generated_reference.command_line import command_line, without_recipe_fields
from generated_reference.errors import error_classes
from generated_reference.python_api import python_api
from generated_reference.recipe_fields import recipe_fields
from generated_reference.report_schema import report_schema
from generated_reference.tables import markdown_table, type_words
from whisper_peft import errors
from whisper_peft.commands import VERBS
from whisper_peft.commands.adapter_verbs import ACTIONS
from whisper_peft.errors import WhisperPeftError
from whisper_peft.recipe.overrides import field_names
from whisper_peft.recipe.sections import MixedSource
from whisper_peft.reporting.run_report import RunReport

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
ENVIRONMENT = (REFERENCE / "environment.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fields():
    return recipe_fields()


@pytest.fixture(scope="module")
def commands():
    return command_line()


def row(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_everything_generated_stands_on_one_page():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md"))
    assert sorted(re.findall(r"<!-- generated: ([\w-]+) -->", pages)) == sorted(GENERATED)


def test_a_marker_is_replaced_and_an_unknown_one_refused(monkeypatch):
    monkeypatch.setitem(GENERATED, "errors", lambda: "THE ERRORS")
    assert fill_in("# A page\n\n<!-- generated: errors -->\n") == "# A page\n\nTHE ERRORS\n"
    with pytest.raises(KeyError):
        fill_in("<!-- generated: erors -->")


def test_a_link_to_a_folder_is_its_name_and_other_links_stay(tmp_path):
    (tmp_path / "example").mkdir()
    page = "see [the example](example) and [the page](page.md#top), [there](https://example.org)"
    assert name_folders(page, tmp_path) == page.replace("[the example](example)", "`the example`")


def test_every_field_of_a_recipe_has_a_row(fields):
    for name in field_names():
        assert row(fields.partition("## Each source")[0] if name == "name" else fields, name)[3]
    assert all(f"| `{name}` |" in fields for name in MixedSource.model_fields)


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("train.max_steps", "whole number or `None`, at least 1", "`None`"),
        ("adapter.lora_dropout", "number, at least 0, below 1", "`0.0`"),
        ("model.quantize", "`none`, `int8`, `nf4`", "`none`"),
        ("augment.noise.snr_db", "number, number", "`5.0 25.0`"),
        ("data.mix", "any number of sources", "`()`"),
        ("merge.enabled", "yes or no", "`True`"),
    ],
)
def test_a_field_has_its_type_its_bounds_and_its_default(fields, name, kind, default):
    assert row(fields, name)[1:3] == [kind, default]


def test_every_verb_is_shown_with_its_help(commands):
    headings = re.findall(r"^## (.+)$", commands, flags=re.MULTILINE)
    actions = [f"adapters {name}" for name in ACTIONS]
    assert headings == ["whisper-peft", *(f"whisper-peft {name}" for name in [*VERBS, *actions])]
    assert "--max-wer-increase FLOAT" in commands
    assert "\x1b[" not in commands


def test_fields_of_a_recipe_are_linked_from_the_help_and_not_repeated(commands):
    assert "--train.max-steps" not in commands
    assert "[`--augment.spec_augment.*`](recipe-fields.md#augmentspec_augment)" in commands


def test_only_the_boxes_of_a_recipes_sections_are_left_out():
    text = "╭─ options ─╮\n│ a\n╰─╯\n╭─ retention options ─╮\n│ b\n╰─╯\n╭─ model options ─╮\n│ c\n╰─╯\n"
    assert without_recipe_fields(text) == (text.partition("╭─ model")[0], ["model"])


def test_every_error_is_described():
    known = {name for name, value in vars(errors).items() if isinstance(value, type)}
    described = set(re.findall(r"autoexception:: whisper_peft\.errors\.(\w+)", error_classes()))
    assert described == {name for name in known if issubclass(getattr(errors, name), WhisperPeftError)}


def test_every_public_name_is_described_once():
    described = re.findall(r":: whisper_peft\.(\w+)", python_api())
    assert sorted(described) == sorted(name for name in whisper_peft.__all__ if not name.startswith("__"))


def test_every_block_and_key_of_a_report_has_a_row():
    schema = report_schema()
    for block in RunReport.model_json_schema()["$defs"]:
        assert f"## {block}\n" in schema
    for key in RunReport.model_fields:
        assert f"| `{key}` |" in schema
    assert "| `started_at` | text | Start, in ISO 8601 with the offset from UTC. |" in schema


def test_cells_of_a_table_keep_to_their_line():
    assert markdown_table(["a"], [["x |\n y"]]) == "| a |\n|---|\n| x \\| y |"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (dict[str, int], "by text: whole number"),
        (tuple[str, ...], "any number of: text"),
        (Path | None, "path or `None`"),
        (WhisperPeftError, "`WhisperPeftError`"),
    ],
)
def test_a_type_is_put_into_words(kind, words):
    assert type_words(kind) == words


def variables_read():
    """Yield the names that the package looks up in the environment."""
    for path in (ROOT / "whisper_peft").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "environ" not in text:
            continue
        constants = dict(re.findall(r'^([A-Z_]+) = "(\w+)"$', text, flags=re.MULTILINE))
        for node in ast.walk(ast.parse(text)):
            owner = getattr(node, "value", None) if isinstance(node, ast.Subscript) else None
            name = node.slice if isinstance(node, ast.Subscript) else None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                owner, name = node.func.value, node.args[0]
            if owner is not None and ast.unparse(owner) == "os.environ":
                yield name.value if isinstance(name, ast.Constant) else constants.get(ast.unparse(name))


def test_every_variable_that_is_read_is_listed():
    read = {name for name in variables_read() if name}
    assert {"TERM", "WORLD_SIZE", "WHISPER_PEFT_API_KEY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"} <= read
    listed = set(re.findall(r"`([A-Z_]+)`", ENVIRONMENT.partition("## Read by libraries")[0]))
    assert read <= listed
