# Every target that runs code first makes .venv, so each works on a fresh machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
# One thread per process: two of them beat one process of two threads (docs/performance.md).
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format smoke benchmark doctor clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything installed, this checkout in editable form

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sweep,dev]'
	touch $@

demo: $(STAMP) ## Train SGD, Lasso, LinBreg and AdaBreg on handwritten digits; a table and a figure
	$(BIN)/python -m bregbench.demo

test: $(STAMP) ## Run the test suite
	$(BIN)/python -m pytest

test-fast: $(STAMP) ## Run the tests that take less than a few seconds
	$(BIN)/python -m pytest -m "not slow"

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP) ## Put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: $(STAMP) ## Train every method for two epochs on digits
	$(BIN)/bregbench-train -m 'method=glob(*)' trainer.epochs=2 tracking=none experiment_name=smoke

benchmark: $(STAMP) ## Time optimiser steps against torch's fused SGD and Adam; writes results/benchmark
	$(BIN)/python -m bregbench.benchmark

doctor: $(STAMP) ## Show versions, devices, shadowed packages and data found
	$(BIN)/bregbench-doctor

clean: ## Remove .venv and caches; runs and results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
