# Two commands for a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
# PYTHON=python3.13 picks another interpreter, DEMO_DIR=... another place for the demo.

PYTHON ?= python3
DEMO_DIR ?= demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOWEST := $(VENV)/lowest

# The tests' modules are compiled once for all of pytest's workers, and for the next run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-laptop test-lowest lint format clean

demo: $(VENV)/.local
	$(BIN)/kgtts demo --dir "$(DEMO_DIR)"

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadgroup

# The laptop's side as on Windows: what only POSIX has is hidden.
test-laptop: $(VENV)/.test
	$(BIN)/python -m pytest -p tests.laptop -n auto

# The laptop's side with the oldest releases that pyproject.toml allows, on the oldest Python: newer ones have no
# wheels of some. With all extras that work without torch.
test-lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--editable '.[cloud,data,notify,package,phonemes,publish,report,serve,speak,test]'
	$(LOWEST)/bin/python -m pytest -p tests.laptop -n auto

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet action.yml .github/workflows
	@if command -v actionlint > /dev/null; then actionlint; else echo 'actionlint is not installed: skipped'; fi

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The stamps say which extras are installed; they age with what names the packages.
# torch comes first and alone: its exact release then satisfies all that follows.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	@touch $@

$(VENV)/.%: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable '.[local,test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
