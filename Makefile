# make demo       real speech, real weights, WER before and after, a merged model: runs/demo
# make test       the whole suite without the slow proofs
# make test-all   with the slow proofs (killed runs, several processes, every precision)
# make test-network the tests that need the Hub
# make lint       style, types, the direction of imports, and spelling
# make coverage   lines and branches that the tests of the torch-free half reach
# make wheel      the sdist and the wheel in dist/, and what they must hold
# make test-wheel the wheel in an empty environment, away from this folder
# make test-lowest, test-newest     the suite with the lowest and with the newest versions that pyproject.toml allows
# make docs       the documentation in build/docs, warnings being errors
#
# make test TEST_PROCESSES=4 where there are more cores and memory; each takes up to 5 GiB.
# Everything is installed into .venv from constraints.txt; a stamp keeps it from being done twice.

PYTHON ?= $(shell for p in python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all test-network lint docs coverage wheel test-wheel test-lowest test-newest clean
.DELETE_ON_ERROR:

demo: .venv/installed-demo
	rm -rf runs/demo
	$(BIN)/whisper-peft finetune demo --output-dir runs/demo

test: .venv/installed-dev
	$(PYTEST) --durations 25 --durations-min 20 -m "not slow and not network"

test-all: .venv/installed-dev
	$(PYTEST) -m "not network"

test-network: .venv/installed-dev
	$(BIN)/python -m pytest -m network tests/network

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell whisper_peft docs recipes .github *.md

docs: .venv/installed-dev
	$(BIN)/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet docs build/docs

TORCH_FREE := recipe/* reporting/* commands/* __init__.py cli.py flags.py terminal.py errors.py types.py export_types.py \
  update_types.py measuring.py
TORCH_FREE_TESTS := tests/unit/recipe tests/unit/reporting tests/unit/commands tests/unit/cli tests/unit/test_measuring.py \
  tests/unit/test_terminal.py tests/unit/test_inspect_command.py tests/unit/test_public_names.py tests/property/test_recipe_yaml.py \
  tests/property/test_reporting_properties.py $(filter-out %/*,$(TORCH_FREE:%=whisper_peft/%)) \
  whisper_peft/recipe whisper_peft/reporting whisper_peft/commands
comma := ,
empty :=

coverage: .venv/installed-dev
	$(PYTEST) -m "not slow and not network" --cov --cov-report= $(TORCH_FREE_TESTS)
	$(BIN)/coverage report --show-missing --skip-covered --fail-under=95 \
	  --include="$(subst $(empty) $(empty),$(comma),$(TORCH_FREE:%=whisper_peft/%))"

wheel: .venv/installed-dev
	rm -rf dist build/wheel-of-tree
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m build --no-isolation --wheel --outdir build/wheel-of-tree
	$(BIN)/python .ci/check_dist.py dist build/wheel-of-tree

test-wheel: wheel
	.ci/test_wheel

# Every version is the lowest (the newest) that pyproject.toml allows, but torch's, which constraints.txt names.
.venv-%/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check -c constraints.txt torch uv
	.venv-$*/bin/python -m uv pip install --python .venv-$*/bin/python -e '.[demo,dev]' \
	  --resolution $(if $(filter lowest,$*),lowest-direct,highest)
	@touch $@

test-lowest test-newest: test-%: .venv-%/installed
	.venv-$*/bin/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile -m "not slow and not network" $(TESTS)

clean:
	rm -rf build dist .venv-lowest .venv-newest .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv

# torch goes first and alone: it is the one download worth seeing, and the others must not choose its version.
.venv/installed-torch: .venv/bin/python constraints.txt
	$(PIP) torch
	@touch $@

.venv/installed-demo: .venv/installed-torch pyproject.toml
	$(PIP) -e '.[demo]'
	@touch $@

.venv/installed-dev: .venv/installed-torch pyproject.toml
	$(PIP) -e '.[demo,dev]'
	@touch $@ .venv/installed-demo
