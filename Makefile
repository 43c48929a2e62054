# Everything a fresh machine needs is Python 3.11, make and the package index: each target makes .venv itself.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: demo test test-servers chaos bench check lint types layers wheel clean
.DEFAULT_GOAL := demo

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $(STAMP)

.venv: $(STAMP)

# The main job on a sandbox in this process, or with SERVER=url on any FHIR test server.
demo: $(STAMP)
	@$(BIN)/baton demo $(if $(SERVER),--server $(SERVER),)

# Everything but the second real server and what takes minutes on the first, which have a target of their own.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not helios and not long"

# The contract suite and the whole cycle on a second real server, Helios, which is built once (some ten minutes); and
# every scenario end to end on both.
test-servers: $(STAMP)
	$(BIN)/python -m tests.servers.helios
	BATON_REQUIRE_HELIOS=1 $(BIN)/python -m pytest -m "helios or long"

# Kills of Baton and of HAPI, and passes through a proxy that loses and breaks things, in numbers; CI runs a tenth.
# A failure prints its seed: BATON_CHAOS_SEED=… repeats it.
KILLS ?= 200
FAULTS ?= 200
chaos: $(STAMP)
	BATON_REQUIRE_HAPI=1 BATON_KILLS=$(KILLS) BATON_FAULTS=$(FAULTS) $(BIN)/python -m pytest -s tests/chaos

# Every figure of speed, each as a ratio to a floor measured in the same run; writes var/bench.json.
bench: $(STAMP)
	$(BIN)/python -m tests.bench

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

check: lint types layers test

wheel: $(STAMP)
	$(BIN)/python -m hatchling build -t wheel

clean:
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
