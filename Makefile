# make demo    record, train, judge and play Pong inside a neural network
# make test    everything that must pass before a commit
#
# Each target sets itself up: a virtual environment in .venv, packages as pinned in constraints.txt.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test test-all check bench setup browser extras clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile # a file's tests stay together: they share what they made

# Spinning OpenMP threads make small kernels several times slower on a busy machine.
test test-all: export OMP_NUM_THREADS := 1
test test-all: export OMP_WAIT_POLICY := PASSIVE

help:
	@echo "make demo      record, train, judge and play Pong inside a neural network"
	@echo "make test      lint, format, types, import layers and all fast tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make check     lint, format, types and import layers only"
	@echo "make bench     speed of recording, training and playing, one JSON object a line"
	@echo "make setup     create .venv and install the pinned packages (every target does it when needed)"
	@echo "make clean     remove .venv, builds and caches; runs and stores stay"

demo: $(READY)
	@$(BIN)/hallucade demo

test: check browser
	@echo "==> tests (without the slow ones)"
	@$(PYTEST) -m "not slow"

test-all: check browser extras
	@echo "==> tests, the slow ones too"
	@$(PYTEST)

check: $(READY)
	@echo "==> lint"
	@$(BIN)/ruff check --quiet
	@echo "==> format"
	@$(BIN)/ruff format --check --quiet
	@echo "==> types"
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@echo "==> import layers"
	@$(BIN)/lint-imports --no-logo

bench: $(READY)
	@echo "==> benchmarks, one JSON object a line" >&2
	@$(BIN)/python -m benchmarks.run

setup: $(READY)
	@echo "==> .venv is ready"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hallucade needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "==> installing packages into .venv (some minutes the first time)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "creating .venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@

# The browser test is skipped, with its reason, where there is no Chromium and no right to install it.
browser:
	@if command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "==> installing Chromium for the browser test"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1 \
	    || echo "    failed; the browser test will be skipped"; \
	else echo "==> no Chromium here: the browser test will be skipped"; fi

# The environments that recording knows by name, and Ray; PointMaze draws through EGL.
extras: $(READY)
	@echo "==> installing games and Ray for the tests that need them"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[games,ray]' --constraint constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gym-pusht --constraint constraints.txt

clean:
	@echo "==> removing .venv, builds and caches"
	@rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
