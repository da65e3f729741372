# modeldeck: `make run` opens the app, `make test` runs all tests. Both make .venv when it is missing and ask nothing.

PYTHON3 ?= python3
PYTHON := .venv/bin/python
ENVIRONMENT := pyproject.toml constraints.txt .ci/environment.py
VLLM_PYTHON := .venv-vllm/bin/python
VLLM_TESTS := $(wildcard $(addprefix tests/backends/engines/test_,vllm*.py cluster*.py conformance*.py event_loop.py))
SOURCES := $(shell find tui backends specs -name '*.py')
TESTS ?=
PYTEST_ARGS ?=
DEMO ?= app
MINUTES ?= 30

.DEFAULT_GOAL := help
.PHONY: help run test test-vllm venv check format bench soak screenshots documents demo clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/.run-is-installed .venv/.bytecode ## open the app, with the llama.cpp engine
	@.venv/bin/modeldeck

test: .venv/.all-is-installed ## every test
	@$(PYTHON) -m pytest -q -rs -n 2 --dist loadgroup --max-worker-restart=0 $(PYTEST_ARGS) $(TESTS)

test-vllm: .venv-vllm/.is-installed ## vLLM and Ray, in an environment of their own (2.3 GB, Linux)
	@$(VLLM_PYTHON) -m pytest -q -rs -k "not conformance and not event_loop or vLLM" $(PYTEST_ARGS) $(VLLM_TESTS)

venv: .venv/.all-is-installed .venv/.bytecode ## only the environment, with every engine that fits into one

check: .venv/.all-is-installed ## format, lint, types, import contracts
	@$(PYTHON) -m ruff format --check --quiet . || { echo "not formatted; run: make format" >&2; exit 1; }
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

format: .venv/.all-is-installed ## put the sources into their one format
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

bench: .venv/.all-is-installed .venv/.bytecode ## benchmarks, as ratios measured in one run
	@$(PYTHON) tests/benchmarks/run.py

soak: .venv/.all-is-installed .venv/.bytecode ## half an hour of keys, downloads and chats: memory, log, screen
	@$(PYTHON) tests/benchmarks/soak.py --minutes $(MINUTES)

screenshots: .venv/.demo-is-installed ## the pictures in docs/, drawn by the app itself
	@$(PYTHON) tests/screenshots.py

documents: .venv/.all-is-installed ## the parts of the documents that are made from the program
	@$(PYTHON) tests/documents.py

demo: .venv/.demo-is-installed .venv/.bytecode ## the whole journey with no hub in reach (DEMO=script: without the app)
	@$(PYTHON) tests/demo/demo.py $(DEMO)

clean: ## remove what can be made again, .venv too
	@rm -rf .venv .venv-vllm build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find tui backends specs tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.run-is-installed: $(ENVIRONMENT)
	@$(PYTHON3) .ci/environment.py run

.venv/.demo-is-installed: $(ENVIRONMENT)
	@$(PYTHON3) .ci/environment.py demo

.venv/.all-is-installed: $(ENVIRONMENT)
	@$(PYTHON3) .ci/environment.py all

.venv-vllm/.is-installed: .ci/vllm_environment.py .ci/environment.py pyproject.toml
	@$(PYTHON3) .ci/vllm_environment.py

# Without bytecode the app takes twice as long to start; compileall writes it even where PYTHONDONTWRITEBYTECODE is set.
.venv/.bytecode: $(SOURCES)
	@$(PYTHON) -m compileall -q tui backends specs
	@touch $@
