# `make help` lists the targets. Everything runs inside .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python
DOCS_READY := $(VENV)/.docs-ready
SOURCES := constructions baselines training verify console tests paper_notes/site

.DEFAULT_GOAL := help
.PHONY: help setup verify test test-slow lint format types docs wheel extras oldest newest mutants bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the pinned versions (the others do this by themselves)

# torch goes in first and alone, so that nothing else can choose another build of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

verify: $(READY) ## the main job: each theorem as hand-built attention, default grids, reports in results/
	$(RUN) -m verify.em_construction --out results/em_construction
	$(RUN) -m verify.tensor_power --out results/tensor_power
	$(RUN) -m verify.softmax_tensor_power --out results/softmax_tensor_power
	$(RUN) -m verify.spectral_construction --out results/spectral_construction

test: $(READY) ## the default test suite, on two processes (some ten minutes on two cores)
	$(RUN) -m pytest -n 2 --dist loadfile

test-slow: $(READY) ## the tests marked slow: the 20,000-instance search and the published levels
	$(RUN) -m pytest -m slow

lint: $(READY) ## style and formatting
	$(RUN) -m ruff check $(SOURCES)
	$(RUN) -m ruff format --check $(SOURCES)

format: $(READY) ## rewrite to the format that lint asks for
	$(RUN) -m ruff check --fix $(SOURCES)
	$(RUN) -m ruff format $(SOURCES)

types: $(READY) ## static types
	$(RUN) -m pyright

docs: $(DOCS_READY) ## the documentation site, build/site/index.html; a warning or a failing example is an error (two minutes)
	$(RUN) paper_notes/site/build.py build/site

$(DOCS_READY): $(READY)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

wheel: $(READY) ## build the wheel, install it in a clean environment, work with it from an empty folder
	$(RUN) -m tests.packaging.wheel

extras: $(READY) ## the same with every extra installed: what each is for (some minutes, half a gigabyte)
	$(RUN) -m tests.packaging.extras

oldest: $(READY) ## a part of the tests with the oldest versions of pyproject.toml, but torch 2.8: the tests' sympy needs it (gigabytes)
	$(RUN) -m tests.packaging.versions oldest --torch 2.8.0

newest: $(READY) ## the same part with the newest versions, but the pinned torch
	$(RUN) -m tests.packaging.versions newest --torch "$$(sed -n 's/^torch==//p' constraints.txt)"

mutants: $(READY) ## mistakes planted one by one in a copy, each noticed by a test (minutes; rerun: it goes on)
	$(RUN) -m tests.mutants

bench: $(READY) ## one table of speed and memory against peers (most of an hour; rerun: it goes on)
	$(RUN) -m tests.benchmarks

clean: ## remove .venv, caches and results
	rm -rf $(VENV) results build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
