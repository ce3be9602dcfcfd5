import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets")
CODE = ("whisper_peft", "recipes", "tests", "docs", ".ci")
MOST_FILE_LINES, MOST_FUNCTION_LINES = 400, 60


def test_imports_point_one_way(root):
    linter = Path(sys.executable).parent / "lint-imports"
    ended = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def imported_at_the_top(tree):
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module


def test_recipes_reports_and_the_command_line_import_nothing_heavy(root):
    package = root / "whisper_peft"
    light = [*(package / "recipe").rglob("*.py"), *(package / "reporting").rglob("*.py")]
    light += (package / "commands").rglob("*.py")
    light += [package / f"{name}.py" for name in ("__init__", "cli", "flags", "terminal")]
    for file in light:
        names = set(imported_at_the_top(ast.parse(file.read_text(encoding="utf-8"))))
        assert not {name for name in names if name.partition(".")[0] in HEAVY}, file


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc"])
def test_no_module_is_a_heap(root, name):
    assert not list((root / "whisper_peft").rglob(f"{name}.py"))


def sizes(file):
    """Yield a file and each of its functions with its lines, docstrings included, and the most allowed."""
    text = file.read_text(encoding="utf-8")
    yield str(file), len(text.splitlines()), MOST_FILE_LINES
    for one in ast.walk(ast.parse(text)):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{file}:{one.lineno} {one.name}", one.end_lineno - one.lineno + 1, MOST_FUNCTION_LINES


def test_every_file_and_every_function_fits_the_screen(root):
    files = [file for folder in CODE for file in (root / folder).rglob("*.py")]
    assert len(files) > 500
    assert not {place: lines for file in files for place, lines, most in sizes(file) if lines > most}


def test_the_wheel_carries_the_recipes_and_the_reference_of_the_benchmark(root, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"whisper_peft/recipes/{path.name}" for path in (root / "recipes").glob("*.py")}
    assert shipped <= inside
    assert {"whisper_peft/py.typed", "whisper_peft/benchmarks/padded_reference.py"} <= inside
    assert not {name for name in inside if name.startswith(("tests/", "recipes/", "docs/"))}
