# Two commands: `make demo` and `make test`. Both set everything up themselves.
PYTHON ?= python3
BIN := .venv/bin
WORKSPACE ?= demo-workspace
PORT ?= 8501
# Processes that `make test` runs tests in. More than four wait for the demo's tests anyway.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 4 ] && echo $$n || echo 4)
RESULTS := .test-results
# One core for each process of tests: threads of BLAS and OpenMP that wait for each other take more
# than they give. A file stays in one process, and the longest files begin (tests/README.md).
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# What `make check` tests: functions on arrays, models and their like, without commands or pages.
UNIT := $(addprefix tests/core/,audio bias interventions models probes similarity) \
	$(wildcard tests/core/test_*.py) $(filter-out tests/test_packaging.py,$(wildcard tests/test_*.py)) \
	tests/workbench/presenters tests/workbench/test_presenters.py \
	$(addprefix tests/docs/test_,links.py facts.py tables.py)
PACKAGES := usad_workbench.core usad_workbench.training usad_workbench.indexes usad_workbench.workbench usad_workbench.sample_data

.PHONY: help setup originals demo check format test test-slow test-gpu links lint types browser compiler weights screenshots tables clean

help:
	@echo "make demo    the main job on the sample data, then the app on port $(PORT)"
	@echo "make check   lint, types and unit tests, in two minutes"
	@echo "make format  formats the code and mends what the linter can"
	@echo "make test    every test but slow ones, browser tests included"
	@echo "make setup   only .venv, the package and the pretrained weights (about 400 MB of downloads)"

setup: .venv/.installed weights

# The installed marker is newer than what decides the installation, or it is made again.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch alone and first: as a mere requirement of others it may come with gigabytes of CUDA
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	# The checkers of HEAR and X-ARES: their packages require tensorflow and torchaudio, the checks do not.
	$(BIN)/python -m pip install --quiet --no-deps hearvalidator==2021.0.2 xares==0.1.3
	touch $@

# Fetches, verifies and converts what is not in the cache yet; a missing encoder is named
# and the rest goes on.
weights: .venv/.installed
	@$(BIN)/usad encoders get --all || echo "Some encoders are missing (named above); everything else goes on without them."

# The published decoder that checks our Whisper encoder by its words is in the original file.
originals: weights
	@$(BIN)/python -c "from usad_workbench.core import get_weights as f; f('whisper-tiny.en', keep_wheels=True)"

demo: setup
	$(BIN)/usad demo --workspace $(WORKSPACE) --port $(PORT)

# The type checkers cannot follow an editable install's import hook: a tree of links can.
.links: .venv/.installed
	$(MAKE) links

links:
	mkdir -p .links/usad_workbench
	for d in core training indexes workbench sample_data; do ln -sfn ../../$$d .links/usad_workbench/$$d; done

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.installed .links
	$(BIN)/mypy

# The browser tests drive a Chromium of the system; it comes through the package manager.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	{ command -v apt-get >/dev/null && \
	  SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo) && $$SUDO apt-get update -qq && \
	  $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	echo "NO CHROMIUM FOUND and none could be installed: THE BROWSER TESTS WILL BE SKIPPED."

# A small library in C ends commands at single file operations (tests/kills).
compiler:
	@command -v cc >/dev/null || command -v gcc >/dev/null || \
	{ command -v apt-get >/dev/null && \
	  SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo) && $$SUDO apt-get update -qq && \
	  $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null; } || \
	echo "NO C COMPILER FOUND and none could be installed: THE TESTS THAT KILL COMMANDS WILL BE SKIPPED."

test: setup originals lint types browser compiler
	rm -rf $(RESULTS)
	$(PYTEST) --quiet --doctest-modules --pyargs $(PACKAGES) -p no:cacheprovider --junitxml=$(RESULTS)/doctests.xml
	$(PYTEST) -m "not slow" --junitxml=$(RESULTS)/tests.xml; \
	ended=$$?; $(BIN)/python -m tests.summary $(RESULTS)/*.xml; exit $$ended

# The fast loop while you work; nothing is fetched, opened in a browser or killed.
check: lint types
	$(PYTEST) --quiet -m "not slow and not long and not weights and not browser" $(UNIT)

format: .venv/.installed
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

test-slow: setup originals browser compiler
	$(BIN)/python -m pytest -m slow

# On a machine with an accelerator: its own python with torch and pytest, nothing installed. The
# tests are those that `make test` runs on the CPU in smaller shapes; the benchmarks need CUDA.
test-gpu: links
	PYTHONPATH=.links $(PYTHON) -m pytest -p no:cacheprovider --confcutdir=tests/gpu tests/gpu
	PYTHONPATH=.links $(PYTHON) -m usad_workbench.workbench.commands.bench_command student-forward large-training xxlarge-inference

# Tables of results in README, pages and model card, from docs/results.
tables: .venv/.installed
	$(BIN)/python -m tests.docs.tables

screenshots: setup browser
	$(BIN)/python -m tests.workbench.screenshots $(WORKSPACE) workbench/assets/screenshots
	$(BIN)/python -m tests.workbench.tour $(WORKSPACE) workbench/assets/screenshots/tour.webp

clean:
	rm -rf .links .mypy_cache .ruff_cache .pytest_cache .import_linter_cache $(RESULTS)
