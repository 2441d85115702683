# Every target makes its own environment and may be repeated. `make help` lists them.
#
# PYTHON=/path/to/python  the interpreter for new environments   (default: .ci/find-python)
# PYTHON_NEWEST=/path     the interpreter for `make test-newest`  (default: 3.13 or 3.12)
# CONSTRAINTS=            newest versions instead of constraints.txt's
# JAX_EXTRA=cuda13        an accelerator build of jax             (default: none)
# ARGS="..."              more arguments for the command that a target runs

.DEFAULT_GOAL := help
.PHONY: help setup compare test test-all test-newest check check-format check-lint check-types \
	check-layering format bench accuracy lock clean

VENV := .venv
VENV_NEWEST := .venv-newest
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt .ci/environment .ci/find-python
PYTEST_WORKERS ?= 2
ARGS ?=
# What the newest jax has to pass each time; ARGS=tests/heads names more.
NEWEST_TESTS := tests/conformance tests/gradients tests/maps tests/test_deformed_log.py tests/test_pytrees.py \
	tests/test_regressions.py tests/test_regressions_random.py tests/test_threshold.py -m "not slow"

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.complete ## make the environment that the other targets use

$(VENV)/.complete: $(INPUTS)
	@.ci/environment $(VENV) dev
	@touch $@

$(VENV_NEWEST)/.complete: $(INPUTS)
	@PYTHON=$(PYTHON_NEWEST) .ci/environment $(VENV_NEWEST) flax,test 3.13 3.12
	@touch $@

compare: $(VENV)/.complete ## the main job: every variant on real data, with a report
	$(BIN)/python -m experiments compare configs/digits.py $(ARGS)

test: $(VENV)/.complete ## the tests that take minutes together
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m "not slow" $(ARGS)

test-all: $(VENV)/.complete ## all tests, the slow ones too
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(ARGS)

test-newest: $(VENV_NEWEST)/.complete ## the library's tests on the newest jax and Flax
	$(VENV_NEWEST)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(NEWEST_TESTS) $(ARGS)

check: check-format check-lint check-types check-layering ## formatting, lint, types, layering

check-format: $(VENV)/.complete
	$(BIN)/ruff format --check --quiet --diff .

check-lint: $(VENV)/.complete
	$(BIN)/ruff check .

check-types: $(VENV)/.complete
	$(BIN)/mypy

check-layering: $(VENV)/.complete
	$(BIN)/python -m pytest -q tests/test_layering.py

format: $(VENV)/.complete ## format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.complete ## the speed table, beside the peers that are installed
	$(BIN)/python -m experiments bench $(ARGS)

accuracy: $(VENV)/.complete ## the accuracy table, against references in higher precision
	$(BIN)/python -m experiments accuracy $(ARGS)

lock: $(VENV)/.complete ## choose the versions in constraints.txt anew
	command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	{ head -n 2 constraints.txt; PATH="$(BIN):$$PATH" uv pip compile pyproject.toml --upgrade --all-extras --universal \
	  --python-version 3.11 --quiet --no-annotate --no-header --no-emit-index-url --no-emit-find-links; \
	} > constraints.new
	mv constraints.new constraints.txt

clean: ## remove environments, caches and builds; keep runs/
	rm -rf .venv .venv-newest .cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
