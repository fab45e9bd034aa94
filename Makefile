# The only commands, for people and for CI. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
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

define install_lock
	@if ! cmp -s requirements/$(1).lock $(VENV)/.installed-$(1); then \
	  echo "installing requirements/$(1).lock into $(VENV): a few minutes the first time"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	    --requirement requirements/$(1).lock; \
	  cp requirements/$(1).lock $(VENV)/.installed-$(1); \
	fi
endef

.PHONY: venv venv-dev
venv: | $(BIN)/python ## Install what the system needs into .venv
	$(call install_lock,base)
	@if ! cmp -s pyproject.toml $(VENV)/.installed-project; then \
	  echo "installing this checkout into $(VENV)"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
	    --no-build-isolation --editable .; \
	  cp pyproject.toml $(VENV)/.installed-project; \
	fi

venv-dev: venv ## Install what building and testing need on top
	$(call install_lock,dev)

# ---- the embedded stack --------------------------------------------------------------------------

.PHONY: run down status logs
run: venv ## Bring everything up and stay; Ctrl-C stops everything
	@$(BIN)/alpaca-strategy up

down: | $(BIN)/python ## Stop the stack from another terminal, and wait until it is gone
	@$(BIN)/alpaca-strategy down

status: | $(BIN)/python ## Tell which parts of the stack run, and where
	@$(BIN)/alpaca-strategy status

logs: ## Follow the logs of all parts
	@tail -n 20 -F "$(LOGS)"/*.log
