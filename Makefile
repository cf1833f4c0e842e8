# With PYTHON=python3.13 (or a path), any of these runs under that Python, in .venv-3.13; with the Python of a virtual
# environment, in that one: a torch that is installed there is kept.

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell command -v python3.11 || command -v python3)
VENV := .venv
else
VENV := $(shell "$(PYTHON)" -c "import sys; \
	print(sys.prefix if sys.prefix != sys.base_prefix else '.venv-%d.%d' % sys.version_info[:2])")
endif
# Versions for an environment that is made here; one that was there has its own.
CONSTRAINTS := $(if $(filter .venv%,$(VENV)),-c constraints.txt)
BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/installed
# In two processes, each a file at a time, what takes longest first (tests/conftest.py). Threads that wait for one another
# sleep: spinning, those of two processes keep each other from the cores.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg --nbval-cell-timeout=900

.PHONY: help run test quick style test-oldest lab panel notebooks docs install clean

help: ## show this list (the default)
	@echo "make TARGET, where TARGET is"
	@sed -n 's/^\([a-z-]*\):.*## /  \1 /p' $(MAKEFILE_LIST) | awk '{name=$$1; $$1=""; printf "  %-12s%s\n", name, $$0}'

run: $(INSTALLED) ## search the embedded network's bit widths and print the front (writes to out/)
	$(BIN)/python -m qa_lib explore

lab: $(INSTALLED) ## open JupyterLab in notebooks/
	cd notebooks && $(BIN)/jupyter lab

panel: $(INSTALLED) ## only the sliders of the embedded network, as a page of their own
	cd notebooks/page && $(BIN)/voila panel.ipynb

test: style ## everything that CI runs, the notebooks included
	$(PYTEST) notebooks tests $(NBVAL)

quick: style ## under a minute, while one writes: no browser, no notebooks, small networks
	$(PYTEST) tests -m "not slow" -p no:nbval

style: $(INSTALLED) ## only linter, format, types, and which folder imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test-oldest: ## the tests, without notebooks, with the oldest versions that setup.py allows, in .venv-oldest
	$(MAKE) install VENV=.venv-oldest CONSTRAINTS="-c constraints-oldest.txt"
	# What old libraries say of newer ones that they build on is no fault of ours.
	OMP_WAIT_POLICY=PASSIVE .venv-oldest/bin/python -m pytest -n 2 --dist loadfile tests -W ignore::DeprecationWarning

notebooks: $(INSTALLED) ## run all notebooks and store their outputs
	$(BIN)/python notebooks/store_outputs.py

docs: $(INSTALLED) ## the reference and the notebooks as pages, into out/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

install: $(INSTALLED) ## make the environment, and nothing else

$(INSTALLED): setup.py pyproject.toml constraints.txt notebooks/qa_lib.json notebooks/server/qa_lib.json
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	# pip would compile 24,000 modules one after the other.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(CONSTRAINTS) -e '.[dev,docs]'
	-$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing/_internal)/' $(VENV)/lib/python*/site-packages >/dev/null
	# An editable install leaves data files out.
	mkdir -p $(VENV)/share/jupyter/lab/settings/overrides.d $(VENV)/etc/jupyter/jupyter_server_config.d
	cp notebooks/qa_lib.json $(VENV)/share/jupyter/lab/settings/overrides.d/
	cp notebooks/server/qa_lib.json $(VENV)/etc/jupyter/jupyter_server_config.d/
	touch $@

clean: ## remove the environments made here, and out/
	rm -rf .venv .venv-* out
