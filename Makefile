# make demo    trains a network on scikit-learn's digits
# make test    runs the tests
# make test-cuda  runs the tests that need a CUDA device: every op and example on it
# make browser installs what the tests of the HTML viewer need, where that can be done
# make lint    runs ruff and mypy
# make clean   removes the virtual environment and what the tools left
#
# Needs Python >= 3.11 and make; everything else goes into .venv, once. Another
# interpreter: make PYTHON=python3.13 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: browser demo test test-cuda lint clean venv

demo: $(STAMP)
	$(BIN)/graphc demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

test-cuda: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	  -e '.[cuda]' || echo "no packages for CUDA: the tests will say what is missing" >&2
	$(BIN)/python -m pytest -rs tests/cuda tests/backends/cuda $(PYTEST_ARGS)

browser: $(STAMP)
	@.ci/browser $(BIN)/python

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(STAMP)

# The stamp is written last, so an installation that broke off is begun anew.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "graphc needs Python 3.11 or newer; $(PYTHON) is" \
	    "$$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-input -e '.[test,lint]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-input -e '.[cuda-compile]' || \
	  echo "no compiler for CUDA kernels: their tests are skipped" >&2
	@touch $@

clean:
	rm -rf $(VENV) build dist graphc.egg-info graphc-demo
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
