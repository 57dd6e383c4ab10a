# make demo: invert HOG on real photographs, end to end. make test: ruff and pytest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint format benchmark clean

demo: $(VENV)/installed
	$(BIN)/python recipes/quickstart.py

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/feature_speed.py

# The stamp is newer than setup.py only after an installation that went through.
$(VENV)/installed: setup.py
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; give one with PYTHON=..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf build dist *.egg-info runs
