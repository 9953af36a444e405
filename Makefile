# One environment for everything; every target makes it when it is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=  # the suite starts processes by the dozen, and each would compile the package anew
PAGES ?= *
JOBS ?= auto
SUITE := $(BIN)/python -m pytest --numprocesses logical --dist worksteal

.PHONY: train test docs coverage check nightly format clean

train: $(VENV)/.ready  ## train the default model from scratch and sample from it
	$(BIN)/lmhead train

test: $(VENV)/.ready  ## run the suite, on every core
	@.ci/browser
	$(SUITE)

docs: $(VENV)/.ready  ## the site, into build/docs/html; PAGES='docs/course/0*': only those pages run
	@test -e build/docs/whole || rm -rf build/docs/doctrees  # what failed or was interrupted is begun anew, to be told again
	@rm -f build/docs/whole
	$(BIN)/python -m sphinx -W --keep-going -n -j $(JOBS) -b html -d build/docs/doctrees \
		-D 'site_execute=$(PAGES)' docs build/docs/html
	@touch build/docs/whole

coverage: $(VENV)/.ready  ## the lines and branches that the suite runs, and which it does not, by file
	$(SUITE) --cov --cov-report=term-missing:skip-covered --cov-fail-under=97

check: $(VENV)/.ready  ## format, lint, types, layers, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs benchmarks examples src tests
	$(BIN)/python -m pytest tests/test_layers.py

nightly: $(VENV)/.ready  ## hours: faults, of ranks too, causal LMs, processors, and every random suite at length
	$(BIN)/python -m tests.nightly.faults --trials 200
	$(BIN)/python -m tests.nightly.rank_faults --trials 200
	$(BIN)/python -m tests.nightly.rank_kills --each 15
	$(BIN)/python -m tests.nightly.resharding
	$(BIN)/python -m tests.nightly.causal_lms
	$(BIN)/python -m tests.nightly.fine_tuning
	$(BIN)/python -m tests.nightly.matrix
	$(BIN)/python -m pytest tests/nightly/patching/*.py tests/nightly/meshes.py
	$(BIN)/python -m tests.nightly.trainer_ranks
	$(BIN)/python -m tests.nightly.two_hosts || test $$? = 77  # where there are no namespaces
	$(BIN)/python -m tests.nightly.cut_heads
	$(BIN)/python -m tests.nightly.lm_eval_oracle || test $$? = 77  # where the harness is not on the path
	$(MAKE) docs
	$(BIN)/python -m tests.nightly.site || test $$? = 77  # where there is no chromium
	$(BIN)/python -m tests.nightly.notebooks
	$(SUITE) --hypothesis-profile nightly

format: $(VENV)/.ready  ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lmhead needs Python >= 3.11; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
