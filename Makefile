# The commands of the project. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
export PYTHONPATH :=

.PHONY: help python install install-dev demo dev test fast lint format requirements bench chaos model

help: ## List these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (macOS: brew install python; Debian: apt install python3 python3-venv)"; exit 1; }

install: python ## Build .venv; .venv/bin/outreach is the command
	@$(PYTHON) tools/bootstrap.py run

install-dev: python ## Build .venv with what the tests need
	@$(PYTHON) tools/bootstrap.py dev

demo: install ## The whole main job on real parts, in under two minutes
	@$(BIN)/outreach demo

dev: install ## PostgreSQL, stand-in SendGrid, web and worker, until Ctrl-C
	@$(BIN)/outreach dev

test: install-dev ## Everything that proves it works
	@tools/test

fast: install-dev ## The pure core and the house rules, in seconds
	@$(BIN)/python -m pytest -q tests/core tests/house

bench: install-dev ## Measure sending on this machine; quiet machines tell more
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: install-dev ## Kill, freeze and cut whatever there is: TRIALS=2000 SEED=7 goes on where it ended
	@$(BIN)/python -m tests.chaos $(if $(TRIALS),--trials $(TRIALS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

model: install-dev ## Lead random plans beside a model of the language: ARGS='--steps 100000 --seed 7'
	@$(BIN)/python -m tests.model $(ARGS)

lint: install-dev ## ruff and mypy --strict
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: install-dev ## Let ruff tidy up
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

requirements: install-dev ## Resolve the hashed requirement files anew
	@tools/lock
