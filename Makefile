# Everything starts here: `make run` and `make test` need only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the pure cores, where an untested branch is an undecided case
CORE := sessionclient/wire.py,sessionclient/link.py,sessionclient/replica.py,sessionclient/mirror.py,broker/quick.py,broker/registry/*.py
SOURCES := sessionclient broker monitor demos scripts tests
# test files that run at the same time; one file's tests stay together, for what they share. Four
# for two cores, because many tests wait for other processes
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench mutate lock clean

help: ## Show what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

run: $(VENV)/.installed ## Start broker, gateway, monitor and demos; Ctrl-C stops all
	@$(BIN)/python scripts/run_all.py

test: lint ## Every check and test, with coverage
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='$(CORE)' --fail-under=100

lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(VENV)/.installed ## Format and mend what can be mended
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.installed ## How fast everything is, beside what the machine can do
	$(BIN)/python -m scripts.bench

mutate: $(VENV)/.installed ## Take the guards out one by one, and see a test fail for each
	$(BIN)/python -m scripts.mutate --jobs $(WORKERS)

lock: ## Write requirements.lock anew from pyproject.toml
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install -q uv
	$(VENV)-lock/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-package panelbus --no-annotate \
	  --custom-compile-command "make lock" --extra dev -o requirements.lock pyproject.toml
	rm -rf $(VENV)-lock

clean: ## Remove the environment and all caches
	rm -rf $(VENV) $(VENV)-lock .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Panelbus needs Python 3.11 or newer; say which with make PYTHON=python3.12" >&2; exit 2; }
	@echo "Installing into $(VENV); this takes about a minute ..."
	@$(PYTHON) -m venv $(VENV)
	@# the lock names everything, so pip has nothing to resolve (and an older pip would look at newer
	@# releases of what is asked for with an extra, and refuse them for want of a hash)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/pip check --disable-pip-version-check >$(VENV)/pip-check.txt || { cat $(VENV)/pip-check.txt >&2; exit 1; }
	@touch $@
