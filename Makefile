# The two commands a newcomer needs: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV   := .venv
TOOLS  := .venv-tools
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# What is documented in full: the exported interface, the contracts, the configuration.
PUBLIC := $(addprefix biastf_xr/,__init__.py accessor.py region.py config.py errors.py brackets.py \
    methods/__init__.py methods/base.py sources/base.py grid/__init__.py cluster/__init__.py \
    cube/stores/__init__.py cube/stores/base.py cube/_spec.py cube/_cube.py cube/_ingest.py \
    cube/_export.py cube/_rechunk.py cube/_verify.py fusion/_plan.py fusion/_preview.py \
    fusion/_lazy.py fusion/_run.py fusion/_screen_store.py evaluation/_holdout.py \
    publish/catalogue.py)

GROUPS := build test lint docs
# The CPU build of torch is a file of its own, which package indexes of CPU builds have.
TORCH_CPU := sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b

DATA ?= ../shared/data
JOBS ?= 2

.PHONY: setup demo test lint bench bench-methods bench-downstream picture ablation limits screening accuracy measures faults fuzz lock audit docs format clean help

help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(READY)  ## create .venv with the pinned dependencies and every extra

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "biastf_xr needs Python >= 3.11; got %d.%d. Run: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned dependencies, every file by its hash (a few minutes the first time)"
	# A build of torch in a folder of pip's `find-links` goes before that of the index, which brings CUDA.
	sed -n '/^torch==/,/[^\\]$$/p' constraints.txt > $(VENV)/torch.txt
	$(BIN)/python -m pip install --quiet --no-index --require-hashes --no-deps -r $(VENV)/torch.txt 2> $(VENV)/torch.log || true
	$(BIN)/python -m pip install --progress-bar off --quiet --require-hashes --no-deps -r constraints.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	# What CUDA builds of torch, and other systems than Linux, ask for beyond.
	$(BIN)/python -m pip check || $(BIN)/python -m pip install $(GROUPS:%=--group %) -e ".[all]"
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

lock:            ## pin what pyproject.toml asks for, with the hashes of all files, in constraints.txt
	$(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/python -m pip install --quiet uv
	UV_PYTHON_DOWNLOADS=never $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header --extra all $(GROUPS:%=--group %) pyproject.toml -o constraints.txt
	grep -q '$(TORCH_CPU)' constraints.txt || \
	    sed -i 's|^\(torch==.*\) \\$$|&\n    --hash=$(TORCH_CPU) \\|' constraints.txt

audit:           ## look up the pinned dependencies in the database of known vulnerabilities
	$(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/python -m pip install --quiet pip-audit || \
	    { echo "no audit: pip-audit cannot be installed here"; exit 1; }
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r constraints.txt || \
	    { echo "audit: weak packages are listed above, or the database could not be asked (not found, connection)"; exit 1; }

docs: setup      ## build the documentation, warnings are errors
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

picture: docs    ## the picture of the README, from the one that the documentation draws
	cp docs/generated/season.png docs/_static/season.png

clean:           ## remove what the targets above made
	rm -rf $(VENV) $(TOOLS) demo_output docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
