# One command per thing a developer does. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WEB := web/node_modules/.installed
EXTRAS := dev,dicom,docs
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
SOURCES := src tests benchmarks docs
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
SPEED := backbones decoders whole pipeline evaluation growth volumes deployment cohorts serving
ACCURACY := accuracy few_labels few_labels_pairs folds overview sizes shifts advice windows compared leakage plane_cycle slice_spacing symmetries teach

.DEFAULT_GOAL := help
.PHONY: help setup demo docs screenshots test test-browser test-all check check-page fix bench bench-accuracy clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## create .venv with pinned versions (does nothing when up to date)

# torch goes first, so that the build your package index offers for this machine (CPU or CUDA)
# is the one that everything after it finds installed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "$(PYTHON) is not Python 3.10 to 3.13; name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV) (some minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) torch
	@$(PIP) -e '.[$(EXTRAS)]'
	@$(PIP) --no-deps monailabel==0.8.5
	@touch $@

demo: setup ## train, evaluate and predict on generated pictures, offline, into demo/
	@$(BIN)/dinoseg demo --out demo

docs: setup ## the manual as a site, in build/site/index.html; it needs no network
	@$(MKDOCS)

screenshots: setup ## the pictures of the page in the manual; needs chromium
	@$(BIN)/python docs/screenshots.py

test: setup ## the quick tests
	@$(PYTEST) -q -n 2 --dist loadfile -m "not slow and not browser" tests

# Debian's own browser, so that nothing comes past the system's package manager.
test-browser: setup $(if $(shell command -v npm),$(WEB)) ## the pages in Chromium, end to end (minutes)
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || { echo "the pages are tested in Chromium, which is missing: apt-get install chromium" >&2; exit 1; }
	@$(PYTEST) -q -m "browser and not slow" tests/browser

test-all: setup ## every test, with real data where it is at hand (long)
	@$(PYTEST) -q tests

check: setup check-page ## lint, format, types, architecture, links of the manual, the page
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy --strict src
	@$(PYTEST) -q tests/test_architecture.py
	@$(MKDOCS)

# The page has no build step: node is needed for this and for nothing else.
check-page: $(if $(shell command -v npm),$(WEB)) ## types and unit tests of the page, where node is there
	@if command -v npm >/dev/null; then cd web && npm run --silent types && npm run --silent test; \
	  else echo "the page's types and unit tests were left out: they need node 20 or later"; fi

$(WEB): web/package.json web/package-lock.json
	@cd web && npm ci --silent
	@touch $@

fix: setup ## mend what can be mended automatically
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

bench: setup ## measure speed and memory; tables go to benchmarks/results/ (half an hour)
	@set -e; for name in $(SPEED); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

bench-accuracy: setup ## train and score on the real data beside the checkout (hours)
	@set -e; for name in $(ACCURACY); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

clean: ## delete caches, builds and the demo (keeps .venv and runs/)
	@rm -rf .cache .mypy_cache .ruff_cache .pytest_cache build dist demo
	@find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +
