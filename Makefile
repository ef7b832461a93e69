# tgvc: `make` lists what can be made. Needs make and Python 3.11 or newer with venv; everything else is fetched.

PYTHON ?= python3
VENV ?= .venv
BPP ?= 0.005
EFFORT ?= 2
FRAMES ?= 240
VIDEO ?=
# PyTorch without the 2.5 GB of CUDA libraries: make test TORCH_INDEX="--index-url https://download.pytorch.org/whl/cpu"
TORCH_INDEX ?=

python := $(VENV)/bin/python
pip := $(python) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint clean

help: ## list the targets
	@awk -F ': ## ' '/^[a-z]+: ## /{printf "  make %-6s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  make demo VIDEO=clip.mp4 BPP=0.003 FRAMES=96 EFFORT=4    a demo of your own"

# Stamps beside the environment: installing once is enough until pyproject.toml changes.
run_stamp := $(VENV)/.installed-run
dev_stamp := $(VENV)/.installed-dev

$(python):
	@$(PYTHON) -c 'import sys; sys.exit("tgvc needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": give make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "this Python has no venv: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(run_stamp): pyproject.toml | $(python)
	$(pip) -e ".[cluster]"
	@touch $@

$(dev_stamp): pyproject.toml | $(python)
	$(pip) torch==2.13.0 $(TORCH_INDEX)
	$(pip) -e ".[dev]"
	@touch $(run_stamp) $@

demo: ## encode and decode a clip, check it, show it beside AV1 at the same size
demo: $(run_stamp)
	@$(python) -m tgvc.demo --bpp $(BPP) --effort $(EFFORT) --frames $(FRAMES) $(if $(VIDEO),"$(VIDEO)")

test: ## lint, types and all tests
test: lint
	OMP_NUM_THREADS=1 $(python) -m pytest -n 2

lint: ## style and types
lint: $(dev_stamp)
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

clean: ## remove what was made here, the environment included
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
