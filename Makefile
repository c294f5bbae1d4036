# Everything one does with this checkout. `make help` lists it.

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.done

# More arguments for the command behind a target, as in: make serve ARGS="--listen 127.0.0.1:1081 -v"
ARGS ?=

# 1: `make test` installs the outside programs the tests drive, and a missing one is a failure.
# 0: nothing is installed with apt, and what needs a missing program is skipped.
HOSIER_REQUIRE_PEERS ?= 1
export HOSIER_REQUIRE_PEERS

ifeq ($(HOSIER_REQUIRE_PEERS),1)
PEERS := $(DONE)/peers
HOSTS := $(DONE)/hosts
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test test-fast check bench fuzz docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## /  make \1: /p' $(MAKEFILE_LIST)

serve: $(DONE)/server  ## install the server and run it on port 1080 of 127.0.0.1 and ::1
	@exec $(BIN)/hosier serve $(ARGS)

test: $(DONE)/dev $(PEERS) $(HOSTS)  ## run every test, with real clients and servers (a quarter of an hour)
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-fast: $(DONE)/dev  ## run the tests that take less than two minutes and need no outside program
	@HOSIER_REQUIRE_PEERS=0 $(BIN)/python -m pytest -n 6 --dist worksteal -m 'not slow and not real' $(ARGS)

check: $(DONE)/dev  ## check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(DONE)/bench $(PEERS)  ## measure, against other servers too
	@$(BIN)/python benchmarks/run.py $(ARGS)

fuzz: $(DONE)/dev  ## feed the parsers with broken input
	@$(BIN)/python fuzz/run.py $(ARGS)

docs: $(DONE)/dev  ## write the generated pages anew
	@$(BIN)/python docs/generate.py $(ARGS)

clean:  ## remove everything that these targets have made
	@rm -rf $(VENV) build dist src/*.egg-info benchmarks/build tests/build htmlcov .coverage .coverage.*
	@rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What has been installed, and need not be again until its list changes

$(DONE)/venv: scripts/make-venv scripts/apt-install
	@scripts/make-venv $(VENV)
	@mkdir -p $(DONE)
	@touch $@

$(DONE)/server: $(DONE)/venv pyproject.toml
	@echo 'installing the server'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[server]'
	@touch $@

$(DONE)/bench: $(DONE)/dev benchmarks/requirements.txt
	@echo 'installing the peers and the plots of the benchmarks'
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

$(DONE)/dev: $(DONE)/venv pyproject.toml
	@echo 'installing what the tests and checks need'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(DONE)/server

$(DONE)/peers: $(DONE)/dev scripts/peers.txt scripts/install-peers scripts/apt-install scripts/build-dante
	@scripts/install-peers
	@echo 'installing Kerberos for Python, which is built with what the last step has brought'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[gssapi]'
	@scripts/build-dante $(CURDIR)/tests/build/dante
	@touch $@

$(DONE)/hosts: $(DONE)/dev tests/integrations/oldest.toml scripts/install-hosts
	@echo 'installing the oldest releases that our client is hooked into, each in a folder of its own'
	@$(BIN)/python scripts/install-hosts tests/build/hosts
	@touch $@
