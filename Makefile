# From a bare checkout with Python 3.11 or newer: `make demo`, `make test`. Another Python: `make demo PYTHON=python3.13`.
PYTHON ?= python3
RUN := .venv/bin/python -m
# Exists when .venv has what these two files ask for.
INSTALLED := .venv/installed
# The older line of ipykernel, which tests start kernels of; the environment itself has the newer one.
IPYKERNEL6 := .venv/ipykernel-6

.PHONY: help demo lab test test-unit test-system test-browser lint clean
# The tests of the parts share the processors; side by side they would only wait longer for each other.
.NOTPARALLEL:

help:
	@echo 'make demo    run notebooks/01-first-steps.ipynb on an embedded fleet, print what each host did'
	@echo 'make lab     JupyterLab on notebooks/, with an embedded fleet up'
	@echo 'make test    everything that must pass; also its parts: test-unit, test-system, test-browser'
	@echo 'make lint    ruff, mypy --strict, the walls between the rooms'
	@echo 'make clean   remove .venv and build/'

demo: $(INSTALLED)
	@.venv/bin/python tools/demo.py notebooks/01-first-steps.ipynb build

lab: $(INSTALLED)
	@.venv/bin/python tools/lab.py notebooks

test: test-unit test-system test-browser

test-unit: $(INSTALLED)
	$(RUN) pytest -n auto -m 'not system and not browser'

test-system: $(INSTALLED) $(IPYKERNEL6)
	$(RUN) pytest -n 3 --dist loadfile -m system

test-browser: $(INSTALLED) $(IPYKERNEL6)
	$(RUN) pytest -n 2 --dist loadfile -m browser

lint: $(INSTALLED)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy --strict opskit tests tools benchmarks
	.venv/bin/lint-imports

clean:
	rm -rf .venv build

$(INSTALLED): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' >/dev/null || { echo >&2 \
		"opskit needs Python 3.11 or newer, and there is no '$(PYTHON)': install it, or name another: make PYTHON=..."; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo >&2 \
		"opskit needs Python 3.11 or newer, and '$(PYTHON)' is `'$(PYTHON)' --version 2>&1`: name another: make PYTHON=..."; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo >&2 \
		"'$(PYTHON)' can't make virtual environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo 'Installing into .venv; the first time this takes a minute or two ...'
	@'$(PYTHON)' -m venv .venv
	@# First pip itself: older ones know no dependency groups.
	@$(RUN) pip install -qq --disable-pip-version-check --constraint constraints.txt pip
	@$(RUN) pip install -qq --constraint constraints.txt --build-constraint constraints.txt --editable '.[all]' --group dev
	@touch $@

$(IPYKERNEL6): tests/ipykernel-6.txt | $(INSTALLED)
	@rm -rf $@
	@$(RUN) pip install -qq --disable-pip-version-check --no-deps --target $@ --requirement $<
	@touch $@
