# The only commands, for people and for CI. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's small build for the CPU. With an NVIDIA GPU: make TORCH_INDEX=https://pypi.org/simple run
TORCH := torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
LOGS := $(or $(ALPACA_STRATEGY_HOME),.)/results/logs/stack

.PHONY: help
help: ## List the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- environment ---------------------------------------------------------------------------------
# A stamp is a copy of the lock that was installed: nothing is done until the lock's content changes.

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; install \
	Python 3.11, or say where it is: make PYTHON=/path/to/python3.11 run" >&2; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "error: \
	$(PYTHON) is $$($(PYTHON) -V), and this project needs Python 3.11" >&2; exit 3; }
	@echo "creating $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: the module venv is missing; on \
	Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 3; }

# A lock is complete, so nothing is resolved; PyTorch, whose builds differ, is not in it.
define install_lock
	@cmp -s requirements/$(1).lock $(VENV)/.installed-$(1) || { \
	  echo "installing requirements/$(1).lock into $(VENV): a few minutes the first time" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --no-deps --requirement requirements/$(1).lock && \
	  cp requirements/$(1).lock $(VENV)/.installed-$(1); \
	}
endef

.PHONY: venv venv-dev
venv: | $(BIN)/python ## Install what the system needs into .venv
	$(call install_lock,base)
	@grep -qsx '$(TORCH) $(TORCH_INDEX)' $(VENV)/.installed-torch || { \
	  echo "installing $(TORCH) from $(TORCH_INDEX)" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 1 \
	    --extra-index-url $(TORCH_INDEX) $(TORCH) && \
	  echo '$(TORCH) $(TORCH_INDEX)' >$(VENV)/.installed-torch; \
	}
	@cmp -s pyproject.toml $(VENV)/.installed-project || { \
	  echo "installing this checkout into $(VENV)" && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
	    --no-build-isolation --editable . && \
	  cp pyproject.toml $(VENV)/.installed-project; \
	}

venv-dev: venv ## Install what building and testing need on top
	$(call install_lock,dev)

# ---- the embedded stack --------------------------------------------------------------------------

.PHONY: run down status logs
run: venv ## Bring everything up and stay; Ctrl-C stops everything
	@$(BIN)/alpaca-strategy up

down: ## Stop the stack from another terminal, and wait until it is gone
	@test ! -x $(BIN)/alpaca-strategy || $(BIN)/alpaca-strategy down

status: ## Tell which parts of the stack run, and where
	@test ! -x $(BIN)/alpaca-strategy || $(BIN)/alpaca-strategy status

logs: ## Follow the logs of all parts
	@tail -n 20 -F "$(LOGS)"/*.log

# ---- proof ---------------------------------------------------------------------------------------

PYTEST := $(BIN)/python -m pytest
SHARD ?= 0/1

.PHONY: test lint bench proof proof-shard lock calendar
test: venv-dev ## Prove what matters: at most 20 minutes on two cores
	@$(PYTEST) -q -n 2 --dist loadgroup -m "not proof and not stack and not browser"
	@$(PYTEST) -q -m "(stack or browser) and not proof"

lint: venv-dev ## Check style, types, import rules, and that no secret is in the repository
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline

bench: venv-dev ## Measure every figure against its peer or limit
	@$(BIN)/python benchmarks/run.py $(ONLY)

proof: venv-dev ## Run every long proof and write docs/proof.md
	@KILL_SEEDS=2000 $(PYTEST) -q -m proof --timeout 3600 --proof-results docs/proof.md

proof-shard: venv-dev
	@$(PYTEST) -q -m proof --timeout 3600 --shard $(SHARD)

lock: venv-dev ## Write the hashed locks anew from requirements/*.in
	@for name in base dev; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --upgrade requirements/$$name.in --output-file requirements/$$name.lock; \
	done

calendar: venv-dev ## Generate the packaged exchange calendar anew
	@$(BIN)/python include/generate_calendar.py
