# Needs a Python 3.11 to 3.13 (PYTHON=… names one) and pip's usual index; nothing else.
# Everything is installed into .venv, from requirement files with hashes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

PYTHON ?=
WORKERS ?= 2
ARGS ?=
UPGRADE ?=

BIN := .venv/bin
UV_VERSION := 0.13.9
UV := build/uv
COMPILE := $(UV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command 'make requirements' \
	$(if $(UPGRADE),--upgrade)

.PHONY: help demo test peer check format bench dashboards audit metrics mutants sweep faults vast soak fuzz requirements clean venv venv-dev

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | awk -F '\t' '{ printf "  make %-14s%s\n", $$1, $$2 }'

demo: venv ## Project a generated firehose, show it live, verify it (ARGS='…' for the command)
	@$(BIN)/projector demo $(ARGS)

test: venv-dev ## Run the tests (WORKERS=2, ARGS='-k name')
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

peer: venv-dev ## Compare with the AppView's own software; wants npm, and Debian's PostgreSQL 15
	@$(BIN)/python -m pytest -m peer tests/peer $(ARGS)

check: venv-dev ## Format, lint, types and import boundaries; changes nothing
	@failed=0; \
	for check in 'ruff format --check .' 'ruff check .' mypy 'lint-imports --no-logo'; do \
		echo "$$check"; $(BIN)/$$check || failed=1; \
	done; exit $$failed

format: venv-dev ## Format, and fix what the linter can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: venv-dev ## Measure events per second against the floor of a plain COPY (ARGS='…')
	@$(BIN)/python -m ops.bench $(ARGS)

dashboards: venv-dev ## Write the Grafana dashboard from its source
	@$(BIN)/python -m ops.grafana

audit: ## Ask whether a package we pin has a known vulnerability; needs the advisory service
	@sh ops/audit.sh

metrics: venv-dev ## Write the page of metrics from their catalogue
	@$(BIN)/python -m projector.metrics >ops/METRICS.md

mutants: venv-dev ## Put each bug of the catalogue into a copy; the tests must catch it (ARGS='name …')
	@$(BIN)/python -m tests.mutants --jobs $(WORKERS) $(ARGS)

sweep: venv-dev ## Kill processes at every crash point, then at 200 random pairs (ARGS='--seed 2')
	@$(BIN)/python -m tests.simulator.sweep --jobs $(WORKERS) $(ARGS)

fuzz: venv-dev ## Fuzz decoders and fold for long, new examples each time (ARGS='-k wires')
	@HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest tests/fuzz tests/model tests/unit/*_fuzz.py \
		-n $(WORKERS) --timeout=14400 $(ARGS)

faults: venv-dev ## Let every fault befall real servers, singly and in pairs (ARGS='--pairs 100')
	@$(BIN)/python -m tests.simulator.faults --card ops/FAULTS.md $(ARGS)

vast: venv-dev ## Delete an account with a million rows, and kill the daemon at it (ARGS='--rows 10000')
	@$(BIN)/python -m tests.simulator.vast $(ARGS)

soak: venv-dev ## Run the pipeline under random kills and faults (ARGS='--minutes 60 --seed 1')
	@$(BIN)/python -m ops.soak $(ARGS)

requirements: ## Pin the requirement files again (UPGRADE=1 for newer versions)
	@$(or $(PYTHON),python3) -m venv $(UV)
	@$(UV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(COMPILE) pyproject.toml --extra dev --output-file requirements-dev.txt
	@$(COMPILE) pyproject.toml --constraints requirements-dev.txt --output-file requirements.txt
	@printf 'pip-audit\n' | $(COMPILE) - --output-file requirements-audit.txt
	@printf 'hatchling\neditables\n' | $(COMPILE) - --constraints requirements-dev.txt \
		--output-file requirements-build.txt

clean: ## Remove .venv, caches and build results (never data)
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@PYTHON='$(PYTHON)' sh ops/venv.sh runtime

venv-dev:
	@PYTHON='$(PYTHON)' sh ops/venv.sh dev
