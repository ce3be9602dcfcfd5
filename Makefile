# make demo       real speech, real weights, WER before and after, a merged model: runs/demo
# make test       the whole suite without the slow proofs
# make test-all   with the slow proofs (killed runs, several processes, every precision)
# make lint       style, types, the direction of imports, and spelling
# make docs       the documentation in build/docs, warnings being errors
#
# make test TEST_PROCESSES=4 where there are more cores and memory; each takes up to 5 GiB.
# Everything is installed into .venv from constraints.txt; a stamp keeps it from being done twice.

PYTHON ?= $(shell for p in python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all lint docs clean
.DELETE_ON_ERROR:

demo: .venv/installed-demo
	rm -rf runs/demo
	$(BIN)/whisper-peft finetune demo --output-dir runs/demo

test: .venv/installed-dev
	$(PYTEST) -m "not slow and not network"

test-all: .venv/installed-dev
	$(PYTEST) -m "not network"

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell whisper_peft docs recipes .github *.md

docs: .venv/installed-dev
	$(BIN)/sphinx-build -W --keep-going --quiet docs build/docs

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

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
