# The two commands a newcomer needs: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# What is documented in full: the exported interface, the contracts, the configuration.
PUBLIC := $(addprefix biastf_xr/,__init__.py accessor.py region.py config.py errors.py brackets.py \
    methods/__init__.py methods/base.py sources/base.py grid/__init__.py cluster/__init__.py \
    cube/stores/__init__.py cube/stores/base.py cube/_spec.py cube/_cube.py cube/_ingest.py \
    cube/_export.py cube/_rechunk.py cube/_verify.py fusion/_plan.py fusion/_preview.py \
    fusion/_lazy.py fusion/_run.py fusion/_screen_store.py evaluation/_holdout.py \
    publish/catalogue.py)

DATA ?= ../shared/data
JOBS ?= 2

.PHONY: setup demo test lint bench bench-methods bench-downstream picture ablation limits screening accuracy measures faults fuzz docs format clean help

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(READY)  ## create .venv with the pinned dependencies and every extra

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "biastf_xr needs Python >= 3.11; got %d.%d. Run: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	@echo "installing the pinned dependencies (a few minutes the first time)"
	$(BIN)/python -m pip install --progress-bar off --quiet -c constraints.txt --group test --group lint --group docs -e ".[all]"
	@touch $@

demo: setup      ## raw scenes -> cubes -> BiaSTF -> a daily cube, scored, with pictures
	$(BIN)/biastf-xr demo --output demo_output

test: setup lint docs ## lint, types, layers, documentation and the whole test suite
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: setup      ## ruff, mypy --strict, import-linter, numpydoc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/numpydoc lint $(PUBLIC)

format: setup    ## rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup     ## the engine beside the bare network, the network beside others, ingest beside a bare loop
	$(BIN)/python benchmarks/bench_engine.py
	$(BIN)/python benchmarks/bench_network.py
	$(BIN)/python benchmarks/bench_ingest.py

bench-methods: setup ## every method beside the bare network: cost and memory
	$(BIN)/python benchmarks/bench_methods.py

bench-downstream: setup ## series of pixels and whole maps, read from a daily cube and from its copies
	$(BIN)/python benchmarks/bench_downstream.py

ablation: setup  ## what each step of biastf-plus is worth, on the generated region and the sets in DATA
	$(BIN)/python benchmarks/ablation.py $(DATA)

limits: setup    ## what the coarse sensor tells on the sets in DATA, and what would be left if it told all
	$(BIN)/python benchmarks/limits.py $(DATA)

screening: setup ## what screening finds of missed clouds, and what fusion gains by it
	$(BIN)/python benchmarks/screening.py $(DATA)

accuracy: setup  ## every method on the real images in DATA, beside the simple baselines
	$(BIN)/python benchmarks/accuracy.py $(DATA)

measures: setup  ## lines, public names, parameters, keys, words of documentation, import circles
	$(BIN)/python benchmarks/house.py

faults: setup    ## kill workers and drivers, fill disks, damage inputs; count what is lost
	$(BIN)/python benchmarks/faults.py

fuzz: setup      ## damage files at random for MINUTES, and see what every door says
	$(BIN)/python benchmarks/fuzz.py --minutes $(or $(MINUTES),10)

docs: setup      ## build the documentation, warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

picture: docs    ## the picture of the README, from the one that the documentation draws
	cp docs/generated/season.png docs/_static/season.png

clean:           ## remove what the targets above made
	rm -rf $(VENV) demo_output docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
