# `make demo` and `make test` need Python >= 3.11, pip and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation

.PHONY: setup demo test test-again test-browser test-all test-upgrade contract bench mutants lint format lock clean

setup: $(READY)

# Build tools first and from their own lock, so that no step builds with something unpinned.
$(VENV)/.locked: requirements/build.lock requirements/dev.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP_INSTALL) --require-hashes -r requirements/build.lock
	$(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	touch $@

$(READY): $(VENV)/.locked pyproject.toml
	$(PIP_INSTALL) --no-deps -e .
	touch $@

demo: setup
	$(BIN)/subkeeper demo

# Most tests wait for real parts, so several run side by side; each process has its own parts.
WORKERS ?= 4

# With bytecode, whatever the shell says: to compile the tests takes a process longer than to collect them.
test: export PYTHONDONTWRITEBYTECODE =
test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

# What failed in `make test`, by itself: fails as well for what fails alone too, and where it is more than a few.
test-again: setup
	$(BIN)/python -m tests.again

# The pages in a real browser: needs chromium on PATH (Debian: apt-get install chromium).
test-browser: setup
	$(PIP_INSTALL) --require-hashes -r requirements/browser.lock
	$(BIN)/python -m pytest tests/browser

# Every supported Python that is installed here, each in a virtual environment of its own.
test-all:
	@for version in 3.11 3.12 3.13; do \
		if python$$version -c '' 2>/dev/null; then \
			$(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else \
			echo "Python $$version is not installed here: skipped"; \
		fi; \
	done

# An upgrade, rehearsed: FROM (a commit) and this code side by side under traffic, and back again.
test-upgrade: setup
	$(if $(FROM),SUBKEEPER_RELEASE_BEFORE=$(FROM)) $(BIN)/pytest -s tests/faults/test_rolling.py

# What we believe of Stripe, asked of a real account in test mode: STRIPE_TEST_SECRET_KEY=sk_test_… make contract, or of it
# some: ARGS="-k trial". `make test` asks the same of the sandbox's Stripe.
contract: setup
	$(BIN)/python -m tests.contract $(ARGS)

# All benchmarks, or some: make bench BENCH="absorb settle"; options in ARGS, such as ARGS="--seconds 20".
bench: setup
	$(BIN)/python -m bench $(BENCH) $(ARGS)

# Changes to the code that no test notices, of all that [tool.mutmut] names or of some: MUTANTS="worker.domain.trial.*".
# It ends after MINUTES, and goes on from there the next time; `.venv/bin/mutmut show NAME` shows a survivor.
MUTANTS ?=
MINUTES ?= 60

mutants: setup
	$(PIP_INSTALL) --require-hashes -r requirements/mutants.lock
	timeout --signal=INT $(MINUTES)m $(BIN)/mutmut run --max-children $(WORKERS) $(MUTANTS) || [ $$? -eq 124 ]
	@$(BIN)/mutmut results | grep -E ': (survived|no tests|suspicious)$$' || true

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --group build \
		-o requirements/build.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 pyproject.toml \
		-o requirements/run.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 pyproject.toml \
		--extra sandbox --group dev -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --group mutants \
		--constraints requirements/dev.lock -o requirements/mutants.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --group browser \
		--constraints requirements/dev.lock -o requirements/browser.lock

clean:
	rm -rf .venv .venv-3.* mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
