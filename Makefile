# Everything here works on a machine that has Python 3.11 or newer, make, and nothing else.
# The environment lives in .venv; nothing outside this folder is touched.

VENV := .venv
BIN := $(VENV)/bin
# The first Python on the path that is new enough; `make install PYTHON=python3.13` says which.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; \
	done)
UV_INSTALL := $(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode \
	--constraints constraints.txt --build-constraints constraints.txt
PINS := pyproject.toml constraints.txt
CODE := src tests benchmarks docs examples

# A torch wheel is half a gigabyte; uv's own limit of 30 s is short for it.
export UV_HTTP_TIMEOUT ?= 600

.DEFAULT_GOAL := help
.PHONY: help install demo test soak check bench bench-peers constraints clean

help: ## this list
	@echo "Opsin: from a folder of raw pictures to a verified model in service."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12   which Python makes .venv (3.11 or newer)"

# .venv holds two stamps: what running needs, and what developing needs on top of it.
$(BIN)/uv: constraints.txt
	@("$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))') 2>/dev/null || { \
		echo "Opsin needs Python 3.11 or newer; $(or $(PYTHON),python3) is" \
		"$$( ($(or $(PYTHON),python3) --version) 2>/dev/null || echo missing)." >&2; \
		echo "Install one, or name it: make install PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV) || { \
		echo "python cannot make an environment; Debian, Ubuntu: apt install python3-venv" >&2; \
		exit 2; }; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@touch $@

$(VENV)/.for-running: $(BIN)/uv $(PINS)
	@echo "installing opsin[train] and what it needs (torch is large: minutes the first time)"
	@$(UV_INSTALL) -e '.[train]'
	@touch $@

$(VENV)/.for-developing: $(VENV)/.for-running
	@echo "installing the tools for tests, lint and types"
	@$(UV_INSTALL) -e '.[train,dev]'
	@touch $@

install: $(VENV)/.for-developing ## make .venv with everything, pinned by constraints.txt

demo: $(VENV)/.for-running ## the main job on 1,797 digits: check, train, evaluate, bundle, predict
	@$(BIN)/opsin demo

test: install ## all tests
	@$(BIN)/python -m pytest

soak: install ## killed at every write and at 200 random moments, 2,000 bits turned: minutes
	@$(BIN)/python -m tests.soak --minutes 20 $(SOAK)

check: install ## lint, format, types, layers
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.for-running ## start-up and serving times of this machine, as ratios
	@$(BIN)/python benchmarks/startup.py
	@$(BIN)/python benchmarks/first_step.py
	@$(BIN)/python benchmarks/serving.py

bench-peers: install ## beside the loops people write: docs/benchmarks.md; BENCH="a9 --rounds 3" for one row
	@$(BIN)/python benchmarks/peers.py $(BENCH)

# Pins that are there stay; `make constraints UPGRADE=--upgrade` moves them all. hatchling is named
# because building needs it, though no extra does.
constraints: $(BIN)/uv ## write constraints.txt again after a change of pyproject.toml
	@echo hatchling | $(BIN)/uv pip compile pyproject.toml - --output-file constraints.txt --quiet \
		--all-extras --universal --python-version 3.11 --no-annotate --no-header \
		--no-emit-index-url --no-emit-find-links $(UPGRADE)
	@! grep -n '://' constraints.txt || { echo "an address in constraints.txt" >&2; exit 1; }

clean: ## remove .venv and caches; runs/ and demo/ are yours and stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
