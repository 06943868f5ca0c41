VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: help demo test check lint format bench clean

help:  ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

demo: $(VENV)/.installed  ## sets everything up and classifies examples/texts.txt with the embedded default
	$(BIN)/healdag classify --file examples/texts.txt

test: check  ## sets everything up and passes all checks and tests

check: lint  ## ruff, mypy, import-linter, pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## formats the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: data-given $(VENV)/.installed-dev  ## measures speed beside other ways, DATA=folder of data sets; writes README's tables
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/peers.py --source "$(DATA)"
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/tables.py

.PHONY: data-given
data-given:
	@test -f "$(DATA)/goemotions_8/test.jsonl.gz" || { \
	  echo 'make bench needs a folder with goemotions_8/test.jsonl.gz: make bench DATA=folder (DATA is "$(DATA)")' >&2; \
	  exit 2; }

clean:  ## removes what was built, the environment too
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "healdag needs Python 3.11 or newer; make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[offline]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[offline,train,dev]'
	touch $@
