# The front door: `make train` and `make test` set up .venv and run; nothing is downloaded but packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/sample
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: train test test-all lint clean

train: $(VENV)/.installed
	rm -rf $(RUN)
	$(BIN)/multitask train sample --out $(RUN)
	$(BIN)/multitask predict $(RUN) --split dev
	$(BIN)/multitask predict $(RUN) --split test
	$(BIN)/multitask validate $(RUN)/predictions --data $(RUN)/sample --tasks sst,paraphrase,sts
	$(BIN)/python benchmarks/bag_of_words.py $(RUN)/sample --run $(RUN)

test: export PYTHONDONTWRITEBYTECODE =# the many programs that tests start are compiled once
test: lint
	# Two processes, each with whole files; tests of few threads and small tensors leave the second core idle.
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# seqeval, an oracle of the tests, has no wheel; its build asks for a setuptools_scm beside it.
	$(PIP) setuptools setuptools_scm wheel
	$(PIP) --no-build-isolation -e ".[dev]" seqeval
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info
