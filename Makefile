# Each target sets up what it needs, in .venv, from Python, pip and make alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without an NVIDIA GPU, one pinned release, which has a CPU build; with one, any that the library allows.
TORCH := $(if $(shell command -v nvidia-smi 2>/dev/null),torch>=2.8,torch==2.13.0)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
DEMO_RUN ?= runs/demo
DEMO_FLAGS ?=
ROBOMIMIC := build/robomimic
PAGES := README.md CONTRIBUTING.md CHANGELOG.md docs
PROSE := $(PAGES) src tests examples benchmarks Makefile
# One thread each: threads of several processes would wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

.PHONY: install demo test test-all cases robomimic-tests proofs lint words bench docs tutorials clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) '$(TORCH)'
	$(PIP) -e '.[diffusion]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -e '.[docs]'
	@touch $@

# Trains, samples in 1, 4 and 128 steps, evaluates, and prints the path of the report last.
demo: $(VENV)/.installed
	$(BIN)/shortcut train digits --run $(DEMO_RUN) $(DEMO_FLAGS)
	$(BIN)/shortcut sample $(DEMO_RUN) --steps 1 4 128 --num 100 --out $(DEMO_RUN)/digits.npz
	$(BIN)/shortcut evaluate $(DEMO_RUN)
	@$(BIN)/shortcut report $(DEMO_RUN)

# The tests of a working day, a few minutes on two cores.
test: $(VENV)/.dev
	$(PYTEST)

# Those, and then the long ones.
test-all: test
	$(PYTEST) -m 'long and not slow'

# Data, machines and habits of other people, which went wrong before.
cases: $(VENV)/.dev
	$(PYTEST) -m 'not slow' tests/robustness/cases

# In an environment of their own, as robosuite needs another MuJoCo than Meta-World does. ROBOMIMIC_LIFT=FILE compares
# with the recorded demonstrations of Lift: see tests/unit/policies/environments/test_robomimic.py.
robomimic-tests: $(ROBOMIMIC)/.installed
	OMP_NUM_THREADS=1 $(ROBOMIMIC)/bin/python -m pytest tests/unit/policies/environments/test_robomimic.py

$(ROBOMIMIC)/.installed: pyproject.toml
	$(PYTHON) -m venv $(ROBOMIMIC)
	$(ROBOMIMIC)/bin/python -m pip --disable-pip-version-check install --quiet '$(TORCH)'
	$(ROBOMIMIC)/bin/python -m pip --disable-pip-version-check install --quiet -e '.[robomimic]' beartype pytest pytest-timeout
	@touch $@

# The slow proofs: full trainings with three seeds, every budget, twenty kills. An hour or two on two cores.
proofs: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow --timeout 7200 -rA

lint: $(VENV)/.dev words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mdformat --check $(PAGES)

# Words and phrases that are not ours: tools/words.txt, tools/phrases.txt.
words: $(VENV)/.dev
	$(BIN)/codespell -D - -D tools/words.txt $(PROSE)
	git grep -nEi -f tools/phrases.txt -- $(PROSE); test $$? = 1

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/policy.py
	$(BIN)/python benchmarks/dit.py

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# Executes the notebooks and stores their outputs in them, a few minutes. Use an idle machine.
tutorials: $(VENV)/.docs
	$(BIN)/jupyter execute --inplace docs/tutorials/*.ipynb

clean:
	rm -rf $(VENV) $(ROBOMIMIC) site
