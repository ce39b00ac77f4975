# Every target sets up .venv by itself from python3 when it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# Tests start some hundred processes: each would compile the project's modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: env run test test-engine test-cluster test-fleet check bench hip-check peers format clean

env: $(STAMP)

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

run: env            ## a local fleet: 4 agents, a late joiner, 3 kernel families, 10 cycles
	$(BIN)/quasim run configs/local.yaml

test: env           ## every test that runs without a GPU: three parts, side by side, since Ray's wait much
	$(MAKE) --no-print-directory --output-sync=line --jobs 3 test-engine test-cluster test-fleet

PYTEST := $(BIN)/python -m pytest -q -m "not gpu" -p no:cacheprovider

# They want a head of their own, and would make the longest part longer.
AT_A_HEAD := tests/cluster/service tests/cluster/test_job.py

test-engine: env
	$(PYTEST) tests/quasim

test-cluster: env
	$(PYTEST) tests/cluster $(AT_A_HEAD:%=--ignore=%)

test-fleet: env
	$(PYTEST) tests --ignore=tests/quasim $(patsubst %,--ignore=%,$(filter-out $(AT_A_HEAD),$(wildcard tests/cluster/*)))

check: env          ## formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env          ## the CPU benchmarks that the README quotes
	$(BIN)/python -m benchmarks.cpu_kernels
	$(BIN)/python -m benchmarks.fleet

hip-check: env      ## every CUDA C++ source through hipcc (Debian's package) for gfx90a: compiled, never run
	$(BIN)/python -m quasim.targets.cuda.hip

peers:              ## a venv of their own for the tools we compare with: their pins clash with ours
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-peers dist
