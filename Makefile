# Every target that runs code first makes .venv, so each works on a fresh machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
# One thread per process: two of them beat one process of two threads (docs/performance.md).
export OMP_NUM_THREADS ?= 1

# pip builds this checkout in an environment of its own, to which --constraint does not apply.
PINNED := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt

# Where data are and where runs work; results stay in results/.
DATA    ?= $(if $(wildcard ../shared/data),../shared/data,data)
RUNS    ?= runs
BUDGET  ?= 150m
WORKERS ?= 2
WHERE    = data_root=$(DATA) runs_dir=$(RUNS)
# Tests run in one process per core, four at most: each imports torch.
PARALLEL ?= -n auto --maxprocesses=4
# More for bregbench reproduce: time_budget=9m, 'rows=[LinBreg]', seeds=[0], data_path=cifar10.npz, dry_run=true, ...
OPTIONS ?=

# bregman-table1 bregman-figure2 ... and from each reproduce-bregman-table1 and table-bregman-1
PUBLISHED := $(subst _,-,$(sort $(basename $(notdir $(wildcard configs/table/*.yaml configs/figure/*.yaml)))))
REPRODUCE := $(addprefix reproduce-,$(PUBLISHED))
words      = $(subst -, ,$(1))
numbered   = $(if $(word 3,$(subst -, ,$(1))),,$(findstring $(2),$(1)))
render     = $(if $(call numbered,$(1),-table),table-$(subst -table,-,$(1)),$\
               $(if $(call numbered,$(1),-figure),figure-$(subst -figure,-,$(1)),render-$(1)))
RENDER    := $(foreach name,$(PUBLISHED),$(call render,$(name)))
rendered   = $(if $(filter render-%,$(1)),$(subst -,_,$(1:render-%=%)),$\
               $(word 2,$(words))_$(word 1,$(words))$(word 3,$(words)))

# The runs of README's picture: LinBreg with three values of lam, and SGD.
PICTURED  := linbreg-93bcd2d1 linbreg-116c2834 linbreg-5c20e34a sgd-0da58fa5
comma     := ,
space     := $(subst ,, )

.DEFAULT_GOAL := help
.PHONY: help help-reproduce setup demo test test-fast pages lint format smoke reproduce-table1 reproduce-table2 \
        reproduce-table3 results-next results-status benchmark faults site docs screenshots picture \
        doctor clean $(REPRODUCE) $(RENDER)

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'
	@echo "  make reproduce-<name>   Train what a published table or figure misses"

help-reproduce: ## List the targets of single tables and figures
	@echo "  Train what a published table or figure misses, then render it (OPTIONS='dry_run=true' shows the plan):"
	@printf '    make %s\n' $(REPRODUCE)
	@echo "  Render it from committed records, without training:"
	@printf '    make %s\n' $(RENDER)

setup: $(STAMP) ## Make .venv with everything installed, editable

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PINNED) $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sweep,images,onnx,dev]'
	touch $@

demo: $(STAMP) ## Train four methods on digits; a table and a figure
	$(BIN)/python -m bregbench.cli.demo

test: $(STAMP) ## Run the test suite
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(STAMP) ## Run the tests that take less than a few seconds
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

pages: $(STAMP) ## Write the options into docs/own.md and options.md
	$(BIN)/python -m bregbench.cli.pages

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP) ## Put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: $(STAMP) ## Train every method for two epochs on digits
	$(BIN)/bregbench train -m 'method=glob(*)' trainer.epochs=2 tracking=none experiment_name=smoke

# Every file in configs/table and configs/figure has two targets: reproduce-<paper>-table<n> trains what is missing
# and renders, table-<paper>-<n> (figure-<paper>-<n>, render-<name> where there is no number) renders from records alone.
$(REPRODUCE): reproduce-%: $(STAMP)
	$(BIN)/bregbench reproduce table=$(subst -,_,$*) $(WHERE) $(OPTIONS)

$(RENDER): $(STAMP)
	$(BIN)/bregbench reproduce table=$(call rendered,$@) render=true $(WHERE) $(OPTIONS)

reproduce-table1: reproduce-bregman-table1 ## Bregman paper, Table 1: sparse CNN on Fashion-MNIST

reproduce-table2: reproduce-bregman-table2 ## Bregman paper, Table 2: the same with groups

reproduce-table3: reproduce-bregman-table3 ## Bregman paper, Table 3: ResNet-18, CIFAR-10 (CUDA)

results-next: $(STAMP) ## Train what tables miss; BUDGET=150m WORKERS=2
	$(BIN)/python -m bregbench.cli.results_next budget=$(BUDGET) workers=$(WORKERS) $(WHERE)

results-status: $(STAMP) ## Show what the published tables still miss
	$(BIN)/bregbench status $(WHERE)

benchmark: $(STAMP) ## Time steps against torch's; writes results/benchmark
	$(BIN)/python -m bregbench.benchmark

faults: $(STAMP) ## Kill runs, damage files, count; BUDGET=5m SEED=0
	$(BIN)/python -m bregbench.faults budget=$(if $(filter file,$(origin BUDGET)),5m,$(BUDGET)) seed=$(or $(SEED),0)

site: $(STAMP) ## Build the results browser, one HTML file
	$(BIN)/python -m bregbench.cli.site output=site

docs: $(VENV)/.docs ## Build the documentation site
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	$(BIN)/python -m bregbench.cli.site output=build/docs/results-browser

$(VENV)/.docs: $(STAMP)
	$(PINNED) $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

screenshots: $(STAMP) ## Photograph the browser for docs (needs Chromium)
	SCREENSHOTS=docs/pictures $(BIN)/python -m pytest -q tests/site -k screenshots

picture: $(STAMP) ## Draw the picture of README.md from records
	$(BIN)/python -m bregbench.cli.plot y=density/total,validation/accuracy log=density/total output=docs/pictures/linbreg.png \
	  runs=$(subst $(space),$(comma),$(addprefix results/records/bregman_figure2/mnist-mlp-,$(PICTURED)))

doctor: $(STAMP) ## Show versions, devices and data found
	$(BIN)/bregbench doctor data_root=$(DATA)

clean: ## Remove .venv and caches; runs and results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
