PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

OLDEST := .venv/transformers-oldest

.PHONY: demo test test-oldest check clean

demo: $(INSTALLED)  ## the embedded checkpoints on the Python documentation: a table and a figure
	$(BIN)/rope-eval demo --output demo

test: check  ## every test, offline
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-oldest: $(INSTALLED)  ## the mechanism under the oldest transformers that is supported
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(OLDEST) transformers==5.19.0
	PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -n 2 --dist loadfile tests/test_patch.py tests/test_generation.py \
	    tests/test_scorer.py tests/test_runner.py

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
