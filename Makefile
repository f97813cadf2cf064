PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test check clean

demo: $(INSTALLED)  ## the embedded checkpoints on the Python documentation: a table and a figure
	$(BIN)/rope-eval demo --output demo

test: check  ## every test, offline
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and by this version: what other packages ask for is then satisfied
$(INSTALLED): pyproject.toml rope_eval_lm_eval.pth
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv demo
