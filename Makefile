# The commands people run; CI runs the same ones. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
CLUSTER := python3 scripts/cluster
PYTEST := $(BIN)/pytest
unexport PYTHONDONTWRITEBYTECODE # else every process of every test compiles its imports anew

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install ## Everything from nothing: cluster, images, install, a Session that repairs a failing test
	@PYTHONPATH=scripts MODEL_API_KEY="$${ANTHROPIC_API_KEY:-}" $(BIN)/python -m demo

.PHONY: test
test: check ## Everything from nothing: checks, then unit, component and end-to-end tests
	@$(PYTEST) -q -m "not cluster and not apiserver"
	@$(MAKE) --no-print-directory install
	@$(PYTEST) -q tests/manifests tests/component/operator -m "apiserver"
	@PYTHONPATH=tests $(BIN)/python -m support.sdks
	@PYTHONPATH=tests $(BIN)/python -m support.peer_programs
	@scripts/with-cluster $(PYTEST) -q tests/e2e tests/sdk -m "cluster"

.PHONY: check
check: venv ## Lint, format, types and import layers (seconds, nothing but Python)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy operator harness_image tests scripts
	@$(BIN)/lint-imports --no-logo

.PHONY: unit
unit: venv ## The quick tests (seconds, nothing but Python)
	@$(PYTEST) -q tests/unit tests/property tests/contract tests/replay -m "not slow and not cluster and not apiserver"

.PHONY: bench
bench: install ## Measure the paths users wait for, as ratios to a floor of the same run
	@PYTHONPATH=scripts:tests scripts/with-cluster $(BIN)/python -m bench

.PHONY: cluster
cluster: ## Bring up the development cluster (kind; self-built where no image can be pulled)
	@$(CLUSTER) up

.PHONY: images
images: ## Build the three images
	@scripts/images

.PHONY: install
install: venv cluster images ## Install the operator, its server and the simulated model into the cluster
	@scripts/install

.PHONY: clean
clean: ## Remove the cluster, its engine and what they left; `make clean CACHE=1` removes the caches too
	@$(CLUSTER) down $(if $(CACHE),--cache)

.PHONY: venv
venv:
	@scripts/venv
