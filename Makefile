# fer_lab. `make demo` shows the whole road, `make test` proves it; `make help` lists the rest.

PYTHON ?= python3
EXTRAS ?= dev,live
ARGS   ?=

VENV := .venv
BIN  := $(VENV)/bin
RUN  := $(BIN)/python -m fer_lab

# One stamp for each set of extras, renewed when a pin or a dependency changes; installing one set removes nothing of another.
CORE := $(VENV)/.installed-core
DEV  := $(VENV)/.installed-dev,live
ALL  := $(VENV)/.installed-dev,live,openvino,prune,scale,tflite
PINS := --constraint constraints.txt --build-constraint constraints.txt

# Where containers set this, every process would compile torch and its company again, some 12 s each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo verify reproduce test test-slow check lock format clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.installed-$(EXTRAS)  ## build .venv for development (EXTRAS=dev,live,openvino,prune,scale,tflite picks the extras)

demo: $(CORE)  ## train, tabulate, export and benchmark a small sweep on synthetic faces, ending in outputs/demo/report.html
	$(RUN).train sweep=demo
	$(RUN).tables sweep=demo
	$(RUN).export sweep=demo
	$(RUN).benchmark sweep=demo
	$(RUN).evaluate sweep=demo
	$(RUN).tables sweep=demo report=outputs/demo/report.html
	@echo "The report is $(CURDIR)/outputs/demo/report.html"

verify: $(CORE)  ## rebuild every table of experiments/ from its kept records and fail on a difference
	$(RUN).tables verify=true

reproduce: $(CORE)  ## train rows of a kept table again and judge them: TABLE=ablation ROWS=ablation_baseline,... ARGS="data.path=..."
	$(RUN).results.reproduce $(TABLE) "$(ROWS)" $(ARGS)

test: $(DEV)  ## run the fast tests (ARGS="-k labels" is handed to pytest)
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(ALL)  ## run the slow tests, with every extra
	$(BIN)/python -m pytest -m slow $(ARGS)

check: $(DEV)  ## format, lint, types, kept tables and the fast tests: what continuous integration runs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m fer_lab.tables verify=true
	@$(MAKE) --no-print-directory test

format: $(DEV)  ## rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(VENV)/.uv  ## write constraints.txt again from all extras together, keeping what still fits (ARGS=--upgrade renews all)
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --python $(BIN)/python --quiet \
	    --no-emit-index-url --no-annotate --no-header --output-file constraints.txt $(ARGS)

clean:  ## remove .venv, caches and builds; outputs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find conf fer_lab tests -name __pycache__ -type d -prune -exec rm -rf {} +

# pip brings uv alone; uv, many times faster, brings the rest. A .venv that works is kept, whatever PYTHON is by now.
$(VENV)/.uv: constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(CHECK_PYTHON) && $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing uv into $(VENV) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

define CHECK_PYTHON
if ! command -v $(PYTHON) >/dev/null; then echo "There is no $(PYTHON); $(NEEDED)." >&2; exit 1; fi; \
$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
    || { echo "$$($(PYTHON) --version 2>&1) does not fit; $(NEEDED)." >&2; exit 1; }
endef
NEEDED := fer_lab needs Python 3.11, 3.12 or 3.13: name one, as in make setup PYTHON=python3.12

$(CORE): $(VENV)/.uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python $(PINS) --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.uv pyproject.toml constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python $(PINS) --editable ".[$*]"
	@touch $@ $(CORE)
