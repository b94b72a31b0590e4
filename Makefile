# Every target that runs code first makes .venv, so each works on a fresh machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
# One thread per process: two of them beat one process of two threads (docs/performance.md).
export OMP_NUM_THREADS ?= 1

# Where data are and where runs work; results stay in results/.
DATA    ?= $(if $(wildcard ../shared/data),../shared/data,data)
RUNS    ?= runs
BUDGET  ?= 150m
WORKERS ?= 2
WHERE    = data_root=$(DATA) runs_dir=$(RUNS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format smoke reproduce-bregman-table1 \
        reproduce-table1 table-bregman-1 reproduce-bregman-table2 reproduce-table2 table-bregman-2 \
        reproduce-bregman-figure2 reproduce-bregman-figure3 \
        figure-bregman-2 figure-bregman-3 results-next results-status benchmark doctor clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-26s %s\n", $$1, $$2}'

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

reproduce-bregman-table1: $(STAMP) ## Train what Table 1 of the Bregman paper misses, then render it
	$(BIN)/bregbench-reproduce table=bregman_table1 $(WHERE)

reproduce-table1: reproduce-bregman-table1 ## The same

table-bregman-1: $(STAMP) ## Render Table 1 of the Bregman paper from records, with verdicts
	$(BIN)/bregbench-reproduce table=bregman_table1 render=true $(WHERE)

reproduce-bregman-table2: $(STAMP) ## Train what Table 2 of the Bregman paper misses, then render it
	$(BIN)/bregbench-reproduce table=bregman_table2 $(WHERE)

reproduce-table2: reproduce-bregman-table2 ## The same

table-bregman-2: $(STAMP) ## Render Table 2 of the Bregman paper from records, with verdicts
	$(BIN)/bregbench-reproduce table=bregman_table2 render=true $(WHERE)

reproduce-bregman-figure2: $(STAMP) ## Train what Figure 2 of the Bregman paper misses, then draw it
	$(BIN)/bregbench-reproduce table=bregman_figure2 $(WHERE)

reproduce-bregman-figure3: $(STAMP) ## Train what Figure 3 of the Bregman paper misses, then draw it
	$(BIN)/bregbench-reproduce table=bregman_figure3 $(WHERE)

figure-bregman-2: $(STAMP) ## Draw Figure 2 of the Bregman paper from records, with verdicts
	$(BIN)/bregbench-reproduce table=bregman_figure2 render=true $(WHERE)

figure-bregman-3: $(STAMP) ## Draw Figure 3 of the Bregman paper from records, with verdicts
	$(BIN)/bregbench-reproduce table=bregman_figure3 render=true $(WHERE)

results-next: $(STAMP) ## Train what the published tables miss; BUDGET=150m WORKERS=2
	$(BIN)/python -m bregbench.cli.results_next budget=$(BUDGET) workers=$(WORKERS) $(WHERE)

results-status: $(STAMP) ## Show what the published tables still miss
	$(BIN)/python -m bregbench.cli.results_next status=true $(WHERE)

benchmark: $(STAMP) ## Time optimiser steps against torch's fused SGD and Adam; writes results/benchmark
	$(BIN)/python -m bregbench.benchmark

doctor: $(STAMP) ## Show versions, devices, shadowed packages and data found
	$(BIN)/bregbench-doctor

clean: ## Remove .venv and caches; runs and results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
