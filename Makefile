# make run     search the embedded network's bit widths and print the front (writes to out/)
# make test    everything that CI runs
# make lab     open JupyterLab in notebooks/
# make notebooks   run all notebooks and store their outputs
#
# With PYTHON=python3.13 (or a path), any of them runs under that Python, in .venv-3.13; with the Python of a virtual
# environment, in that one, and what is installed there is used.

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell command -v python3.11 || command -v python3)
VENV := .venv
else
VENV := $(shell "$(PYTHON)" -c "import sys; \
	print(sys.prefix if sys.prefix != sys.base_prefix else '.venv-%d.%d' % sys.version_info[:2])")
endif
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: run test lab notebooks install clean

run: $(INSTALLED)
	$(BIN)/python -m qa_lib explore

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	# Two processes, each a file at a time; the notebooks, which take longest, first. Threads that wait for one
	# another sleep: spinning, those of two processes keep each other from the cores.
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest notebooks tests -n 2 --dist loadfile --no-loadscope-reorder --nbval \
		--nbval-current-env --nbval-sanitize-with notebooks/sanitize.cfg --nbval-cell-timeout=900 --durations=10

lab: $(INSTALLED)
	cd notebooks && $(abspath $(BIN))/jupyter lab

notebooks: $(INSTALLED)
	$(BIN)/python notebooks/store_outputs.py

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml notebooks/overrides.json
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	# An editable install leaves data files out.
	mkdir -p $(VENV)/share/jupyter/lab/settings
	cp notebooks/overrides.json $(VENV)/share/jupyter/lab/settings/
	touch $@

clean:
	rm -rf .venv .venv-* out
