# The commands of the project. Each does its own set-up in .venv: `make serve` and `make test` are all one needs to know.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find mailserver twisted -name '*.py') setup.cfg pyproject.toml
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
DEBIAN := tests/debian-packages.txt

.DEFAULT_GOAL := help
.PHONY: help serve test check crash bench docs clean debian

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

serve: $(VENV)/.serve  ## a server on this machine, with an account, messages and a certificate
	@exec $(BIN)/python -P -m mailserver.cli.demo

test: debian $(VENV)/.dev  ## all the tests
	@$(PYTEST)

check: debian $(VENV)/.dev  ## the gate: lint, format, types, and the tests with their coverage
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/coverage erase
	@$(PACKAGES) $(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='mailserver/protocol/*,mailserver/sasl/*'

crash: $(VENV)/.dev  ## kill the server hundreds of times, and count the messages
	@CRASH_RUNS=500 $(PYTEST) tests/crash

bench: $(VENV)/.dev  ## measure us beside other servers (root; see docs/performance.md)
	@$(BIN)/python bench/compare.py

docs: $(VENV)/.dev  ## check the pages: links, settings, and the programs in them
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/test_config.py

clean:  ## remove what these commands made, but not var/
	@rm -rf $(VENV) build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Never editable: Twisted would not find the plugin. A stamp says what was installed; sources that changed are installed
# again, which takes seconds because what they depend on is there.
$(VENV)/.serve: $(SOURCES) | $(VENV)/.made
	@$(PIP) install '.[all]'
	@rm -rf build
	@touch $@

$(VENV)/.dev: $(SOURCES) | $(VENV)/.made
	@$(PIP) install '.[dev]'
	@rm -rf build
	@touch $@ $(VENV)/.serve

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory venv-package
	@$(PYTHON) -m venv $(VENV)
	@touch $@

.PHONY: venv-package
venv-package:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null; \
	else \
	    echo "Python's venv module is missing. As root: apt-get install python3-venv" >&2; exit 1; \
	fi

# Programs that tests talk to. Without them their tests are skipped, and say so; with them none may be.
MISSING = $(shell for name in $$(cat $(DEBIAN)); do \
    [ "$$(dpkg-query -Wf '$${db:Status-Status}' $$name 2>/dev/null)" = installed ] || echo $$name; done)
PACKAGES = TEST_PACKAGES=$(if $(MISSING),missing,installed)
PYTEST = $(PACKAGES) $(BIN)/python -m pytest

debian:
	@$(if $(MISSING),$(MAKE) --no-print-directory install-debian,:)

.PHONY: install-debian
install-debian:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(MISSING) >/dev/null; \
	then :; else \
	    echo "not installed, so that some tests are skipped: $(MISSING) (as root: apt-get install $(MISSING))" >&2; \
	fi
