"""Check what is published: `python .ci/check_dist.py dist build/wheel-from-tree [--publish]`.

The first folder holds the sdist and the wheel built from it, the second the wheel built from the tree. With
`--publish` the repository must have an address too, which `[project.urls]` in pyproject.toml says.
"""

import argparse
import ast
import re
import sys
import tarfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).resolve().parent.parent
MOST_WHEEL_BYTES, MOST_SDIST_BYTES = 6_000_000, 25_000_000
"""The sdist has the telephone prompts, which the tests hear."""

SDIST_FOLDERS = ("whisper_peft", "recipes", "tests", "docs", ".ci", ".github")
SDIST_FILES = {
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "LICENSE",
    "pyproject.toml",
    "constraints.txt",
    "Makefile",
    "Dockerfile",
    "compose.yaml",
    ".dockerignore",
}
"""At the top of the tree."""


def wheel_in(folder: Path) -> dict[str, bytes]:
    """Return the files of the only wheel in a folder."""
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        return {name: files.read(name) for name in files.namelist()}


def sdist_in(folder: Path) -> dict[str, bytes]:
    """Return the files of the only sdist in a folder, without its top folder."""
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        found = {member.name.partition("/")[2]: files.extractfile(member) for member in files}
        return {name: file.read() for name, file in found.items() if file is not None}


def meant_for_the_wheel() -> set[str]:
    """Return the paths in a wheel of all that the tree has for it."""
    package = {path for path in (ROOT / "whisper_peft").rglob("*") if path.is_file()}
    paths = {path.relative_to(ROOT).as_posix() for path in package if "__pycache__" not in path.parts}
    recipes = {f"whisper_peft/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.py")}
    return paths | recipes | {"whisper_peft/benchmarks/padded_reference.py"}


def meant_for_the_sdist() -> set[str]:
    """Return the paths of all that the package, its checks and its container are made from."""
    inside = {path for folder in SDIST_FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    paths = {path.relative_to(ROOT).as_posix() for path in inside if "__pycache__" not in path.parts}
    return paths | SDIST_FILES


def parses(files: dict[str, bytes]) -> bool:
    """Tell whether every module can be compiled by the oldest Python that is promised."""
    modules = [content for name, content in files.items() if name.endswith(".py")]
    return all(ast.parse(module, feature_version=(3, 11)) for module in modules)


arguments = argparse.ArgumentParser()
arguments.add_argument("dist", type=Path)
arguments.add_argument("from_tree", type=Path)
arguments.add_argument("--publish", action="store_true")
asked = arguments.parse_args()
dist = asked.dist
wheel, sdist = wheel_in(dist), sdist_in(dist)
info = next(name.partition("/")[0] for name in wheel if name.endswith(".dist-info/METADATA"))
inside = {name for name in wheel if not name.startswith(info)}
metadata = Metadata.from_email(wheel[f"{info}/METADATA"], validate=True)
headers = BytesParser().parsebytes(wheel[f"{info}/METADATA"])
repository = (metadata.project_urls or {})["Repository"]
NEEDED = {
    "whisper_peft/py.typed",
    "whisper_peft/reporting/templates/report/errors.css",
    "whisper_peft/training/planning/measured_costs.json",
    "whisper_peft/evaluation/health/speech/COPYRIGHT.txt",
    "whisper_peft/recipes/demo.py",
}
KINDS = {".py", ".json", ".jsonl", ".html", ".css", ".js", ".typed", ".txt", ".ogg", ".md"}
claims = {
    "the wheel built from the sdist is that of the tree, byte for byte": wheel == wheel_in(asked.from_tree),
    "the wheel has the package, the recipes and the reference of the benchmark, and nothing else": inside
    == meant_for_the_wheel(),
    "py.typed, templates, JSON tables and the speech of the health check are in it": inside >= NEEDED,
    "both licences are in it": {name for name in wheel if "/licenses/" in name}
    == {f"{info}/licenses/{path}" for path in metadata.license_files or []},
    "there are no files of kinds that nobody meant": {Path(name).suffix for name in inside} <= KINDS,
    "its modules are of Python 3.11": parses(wheel),
    "its long description is the README, as Markdown": headers["Description-Content-Type"] == "text/markdown"
    and (metadata.description or "").replace(f"]({repository}/blob/main/", "](")
    == (ROOT / "README.md").read_text(encoding="utf-8"),
    "no link in it leads into a folder that its reader does not have": not re.findall(
        r"\]\((?!https://|#)", metadata.description or ""
    ),
    "the command is offered": b"whisper-peft = whisper_peft.cli:main" in wheel[f"{info}/entry_points.txt"],
    "the sdist has every file that make, the tests, the documentation and the container need": sdist.keys()
    >= meant_for_the_sdist(),
    "the sdist has nothing of runs, caches or environments": not [
        name
        for name in sdist
        if name.startswith((".venv", "runs/", "build/", "dist/")) or "__pycache__" in name
    ],
    "they are small": sum(path.stat().st_size for path in dist.glob("*.whl")) < MOST_WHEEL_BYTES
    and sum(path.stat().st_size for path in dist.glob("*.tar.gz")) < MOST_SDIST_BYTES,
}
if asked.publish:
    claims["the repository has an address, and not OWNER's (pyproject.toml, [project.urls])"] = (
        "/OWNER/" not in repository
    )
for claim, holds in claims.items():
    print(f"{'ok    ' if holds else 'FAILED'} {claim}")
if missing := meant_for_the_sdist() - sdist.keys():
    print("not in the sdist:", *sorted(missing)[:10], sep="\n  ")
if inside != meant_for_the_wheel():
    print("not meant or missing:", *sorted(inside ^ meant_for_the_wheel())[:10], sep="\n  ")
sys.exit(0 if all(claims.values()) else 1)
