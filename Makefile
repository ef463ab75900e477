# Two commands on a fresh machine: `make demo` and `make test`. Both set themselves up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export SHER2_HOME ?= $(CURDIR)/var
export DO_NOT_TRACK := 1
# Without bytecode the stack imports in 20 to 40 s instead of 3 to 6 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup setup-spark demo up test lint bench clean

setup: $(READY)

$(READY): requirements.lock requirements.bootstrap.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.bootstrap.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q orchestration
	$(BIN)/python -m orchestration.compilation
	touch $(READY)

# The engine for those who outgrow one machine: docs/spark.md. It needs Java 17 or later beside it.
setup-spark: $(VENV)/.ready-spark

$(VENV)/.ready-spark: $(READY) requirements.spark.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.spark.lock
	touch $(VENV)/.ready-spark

demo: setup
	$(BIN)/sher2 simulate $(SHER2_HOME)/landing --subjects 120 --seed 1
	$(BIN)/sher2 run

up: setup
	$(BIN)/sher2 up

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check orchestration benchmarks

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build *.egg-info
