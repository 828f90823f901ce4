# `make demo`, `make test`, `make ui`, `make check`, `make bench`: each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo drill ui test check format bench bench-quick screenshots lock clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## Install everything from the lock into .venv

# pip installs uv, at its locked version, and uv installs the rest in seconds; where uv cannot
# reach the package index that pip is configured for, pip does it all.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	  "Python 3.11 to 3.13 is needed, this is %d.%d; name another: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/^ *# via/p' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  -r $(VENV)/uv.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --compile-bytecode --require-hashes requirements.lock || \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-deps \
	    -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --offline -e .
	@touch $@

demo: $(READY) ## Run the life cycle of flight_delays on the first months of 2013
	$(BIN)/mlops-assets demo

drill: $(READY) ## Play what goes wrong in a year, against the real daemon and service
	$(BIN)/mlops-assets drill

ui: $(READY) ## Serve Dagster (port 3000) and MLflow (port 5000) on what the demo left
	$(BIN)/mlops-assets ui

test: $(READY) ## Run all tests
	$(BIN)/pytest -n auto --dist loadfile

check: $(READY) ## Check format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure against peers, side by side; writes benchmarks/results.json
	$(BIN)/python -m benchmarks

bench-quick: $(READY) ## The same with fewer repetitions
	$(BIN)/python -m benchmarks --quick

screenshots: $(READY) ## Photograph what the demo left for the README (needs Chromium)
	$(BIN)/python -m docs.screenshots

lock: $(READY) ## Resolve the dependencies again
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --quiet --output-file requirements.lock

clean: ## Remove what was generated, but not the environment
	rm -rf .mlops .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
