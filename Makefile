# The commands of the project. Each does its own set-up in .venv: `make serve` and `make test` are all one needs to know.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find mailserver twisted -name '*.py' -o -name '*.c') setup.cfg pyproject.toml
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
DEBIAN := tests/debian-packages.txt
UNPACKED := tests/debian-unpacked.txt
# The tests that make quick leaves out.
LONG := abuse crash interop old
# The extras that come as wheels: all but gssapi.
WHEELS := hashes,oauth,postgresql,mysql,zstd,cli,migrate,metrics
# Where make oldest has its packages, and the tests that it leaves out: joserfc wants a newer cryptography than the oldest pyOpenSSL takes.
OLDEST := $(VENV)/oldest
JOSERFC := auth/oauth test_sealed.py test_threads.py
comma := ,

.DEFAULT_GOAL := help
.PHONY: help serve test quick oldest check crash bench docs manual clean debian
.NOTPARALLEL:

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##/  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

serve: $(VENV)/.serve $(VENV)/.gssapi  ## a server with an account, messages and a certificate; KERBEROS=demo adds a realm
	@exec $(BIN)/python -P -m mailserver.demo.demo $(KERBEROS)

test: debian $(VENV)/.dev $(VENV)/.gssapi  ## all the tests, in two processes
	@$(PYTEST) $(BESIDE)

quick: debian $(VENV)/.dev $(VENV)/.gssapi  ## the tests without the long ones, side by side, in half of the time
	@PYTHONDONTWRITEBYTECODE= TEST_STARTS=forked $(PYTEST) -n 3 --dist worksteal $(LONG:%=--ignore=tests/%)

oldest: debian  ## the tests without the long ones, with the oldest packages that setup.cfg allows
	@$(PYTHON) -m venv $(OLDEST)
	@sed -n '/^install_requires/,/^# Builds/s/^ *\([A-Za-z0-9.-]*\).* >= \([0-9.]*\).*/\1==\2/p' setup.cfg | grep -v joserfc >$(OLDEST)/constraints.txt
	@$(OLDEST)/bin/python -m pip --disable-pip-version-check -qq install -c $(OLDEST)/constraints.txt \
	    '.[$(subst oauth$(comma),,$(WHEELS))]' treq pytest pytest-xdist hypothesis scramp setuptools
	@rm -rf build
	@$(PACKAGES) $(OLDEST)/bin/python -m pytest $(BESIDE) $(patsubst %,--ignore=tests/%,$(LONG) $(JOSERFC))

check: debian $(VENV)/.dev $(VENV)/.gssapi  ## the gate: lint, format, types, and the tests with their coverage
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/coverage erase
	@$(PACKAGES) $(BIN)/coverage run -m pytest $(BESIDE)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='mailserver/protocol/*,mailserver/sasl/*'

crash: $(VENV)/.dev  ## kill the server hundreds of times, and count the messages
	@CRASH_RUNS=500 $(PYTEST) tests/crash

bench: $(VENV)/.dev  ## measure us beside other servers, or alone (see docs/performance.md)
	@mkdir -p var/bench
	@$(BIN)/python bench/compare.py --json var/bench/run.json
	@$(BIN)/python bench/counting.py --json var/bench/counting.json
	@$(BIN)/python bench/checkers.py --json var/bench/checkers.json
	@$(BIN)/python bench/deliveries.py --json var/bench/deliveries.json
	@$(BIN)/python bench/moving.py --users 10 --json var/bench/moving.json
	@$(BIN)/python bench/growth.py --json var/bench/growth.json --plot var/bench/growth.svg
	@$(BIN)/python bench/report.py var/bench/run.json --growth var/bench/growth.json

docs: $(VENV)/.dev $(VENV)/.docs  ## check the pages and the programs in them, and build their site: var/site/html
	@$(BIN)/python -m pytest -q tests/test_docs.py tests/config/test_settings.py
	@$(BIN)/python docs/site/build.py var/site

manual: $(VENV)/.dev  ## renew the manual pages, the completions and docs/commands.md by what the commands say of themselves
	@$(BIN)/python docs/manual/build.py

clean:  ## remove what these commands made, but not var/
	@rm -rf $(VENV) build dist *.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Never editable: Twisted would not find the plugin. A stamp says what was installed; sources that changed are installed
# again, which takes seconds because what they depend on is there.
$(VENV)/.serve: $(SOURCES) | $(VENV)/.made
	@$(PIP) install '.[$(WHEELS)]'
	@rm -rf build
	@touch $@

$(VENV)/.dev: $(SOURCES) | $(VENV)/.made
	@$(PIP) install '.[dev]'
	@rm -rf build
	@touch $@ $(VENV)/.serve

$(VENV)/.docs: setup.cfg $(VENV)/.dev
	@$(PIP) install '.[docs]'
	@rm -rf build
	@touch $@

# SASL GSSAPI's library is built here. Where that cannot be, all else works, and the next run tries again.
$(VENV)/.gssapi: | $(VENV)/.made
	@if command -v krb5-config >/dev/null && $(PIP) install '.[gssapi]'; then touch $@; else \
	    echo "SASL GSSAPI is left out. For it, as root: apt-get install gcc libkrb5-dev python3-dev" >&2; fi
	@rm -rf build

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

# What asks whether a service may start, for packages with units and with scripts alike.
POLICY := /usr/sbin/policy-rc.d

# Programs that tests talk to. Without them their tests are skipped, and say so; with them none may be.
MISSING = $(shell for name in $$(cat $(DEBIAN)); do \
    [ "$$(dpkg-query -Wf '$${db:Status-Status}' $$name 2>/dev/null)" = installed ] || echo $$name; done)
# Those that only one of may be installed, and that would push out the machine's own: they are unpacked here, and nowhere else.
APART := $(VENV)/debian
PACKED = $(shell for name in $$(cat $(UNPACKED)); do set -- $(APART)/$${name}_*.deb; [ -e "$$1" ] || echo $$name; done)
PACKAGES = TEST_PACKAGES=$(if $(MISSING)$(PACKED),missing,installed)
PYTEST = $(PACKAGES) $(BIN)/python -m pytest

# Each process has its half of the tests in their order, so what a module or a folder shares is made once, and who is done early takes
# from the other's end.
BESIDE := -n 2 --dist worksteal

debian:
	@$(if $(MISSING)$(PACKED),$(MAKE) --no-print-directory install-debian,:)

# Nothing is asked, and no service is started, now or by an upgrade that comes along: a policy of Debian's own says so while this
# runs. It is obeyed only in this environment, so that one left behind by a kill means nothing; a policy that is there stays.
# The cluster that postgresql makes takes two seconds, and rests.
# Of what is unpacked the libraries are installed; a program loses the right to become root, since it is in a folder of its own now.
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root
.PHONY: install-debian
install-debian:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && { \
	        [ -e $(POLICY) ] || { trap 'rm -f $(POLICY)' EXIT; trap 'exit 1' HUP INT TERM; \
	        printf '#!/bin/sh\n[ -z "$$NO_SERVICES" ] || exit 101\n' >$(POLICY); chmod 755 $(POLICY); }; } && \
	    rm -rf $(APART)/new && mkdir -p $(APART)/new && { [ -z "$(PACKED)" ] || (cd $(APART)/new && $(APT) download $(PACKED)); } && \
	    for each in $(PACKED); do dpkg -x $(APART)/new/$${each}_*.deb $(APART); done && chmod -R u-s,g-s $(APART) && \
	    libraries=$$(for each in $(PACKED); do dpkg-deb -f $(APART)/new/$${each}_*.deb Depends; done | \
	        tr , '\n' | sed -n '/libjs-/d; s/^ *\(lib[^ |(:]*\).*/\1/p') && \
	    NO_SERVICES=1 $(APT) install -y --no-install-recommends $(MISSING) $$libraries >/dev/null && \
	    for each in $(PACKED); do mv $(APART)/new/$${each}_*.deb $(APART); done; \
	then :; else \
	    echo "not installed, so that some tests are skipped: $(MISSING) $(PACKED) (as root: make debian)" >&2; \
	fi
