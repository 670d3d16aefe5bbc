# Aftercare. `make help` lists the commands.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VAR  := $(CURDIR)/var
ENVS := $(VAR)/envs
REQ  := deploy/requirements
UV   := $(ENVS)/tools/bin/uv
PY   ?= python3
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= hardlink
export PYTHONDONTWRITEBYTECODE ?=

APP  := $(ENVS)/app/bin
DEV  := $(ENVS)/dev/bin

# Python 3.10 (for Rasa): on the PATH, else under pyenv, else fetched by uv
PY310 = $(shell command -v python3.10 >/dev/null && python3.10 -c 'import sys; print(sys.executable)' 2>/dev/null || ls -d $$(pyenv root 2>/dev/null)/versions/3.10.*/bin/python 2>/dev/null | tail -1)
PY311 = $(shell command -v python3.11 >/dev/null && python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || ls -d $$(pyenv root 2>/dev/null)/versions/3.11.*/bin/python 2>/dev/null | tail -1)

.PHONY: help
help: ## what each command does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(UV): $(REQ)/tools.txt
	$(PY) -m venv $(ENVS)/tools
	$(ENVS)/tools/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

# One environment an image, each exactly its lock.
$(ENVS)/rasa/.ready: PYTHON = $(or $(PY310),3.10)
$(ENVS)/%/.ready: PYTHON = $(or $(PY311),3.11)
$(ENVS)/%/.ready: $(REQ)/%.txt $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(ENVS)/$*
	$(UV) pip sync --quiet --require-hashes --python $(ENVS)/$*/bin/python $<
	@echo "$(CURDIR)" > $$($(ENVS)/$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/aftercare-source.pth
	@printf '#!/bin/sh\nexec "%s" -m aftercare "$$@"\n' "$(ENVS)/$*/bin/python" > $(ENVS)/$*/bin/aftercare
	@chmod +x $(ENVS)/$*/bin/aftercare
	@touch $@

.PHONY: envs
envs: $(foreach e,app nlu rasa vllm,$(ENVS)/$(e)/.ready) ## the four environments, each from its lock

.PHONY: train-env
train-env: $(ENVS)/train/.ready ## the environment of the generator's fine-tuning (not needed to run the service)

.PHONY: locks
locks: $(UV) ## write the requirement locks again from their .in files
	deploy/requirements/lock.sh $(UV)

.PHONY: knowledge
knowledge: $(ENVS)/app/.ready ## check the knowledge files, as the image's build does
	@$(APP)/python -m care.knowledge

.PHONY: up
up: envs knowledge ## set everything up and run the service; Ctrl-C stops it
	@$(APP)/aftercare up

.PHONY: down
down: ## stop a running service
	@$(APP)/aftercare down

.PHONY: dev
dev: envs train-env $(ENVS)/dev/.ready

.PHONY: lint
lint: knowledge $(ENVS)/dev/.ready ## ruff, mypy --strict, import rules
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	$(DEV)/lint-imports

.PHONY: fmt
fmt: $(ENVS)/dev/.ready ## format the code
	$(DEV)/ruff format .
	$(DEV)/ruff check --fix-only --exit-zero .

# Two lanes side by side: tests of the whole service mostly wait, the others mostly compute and give way to them.
SERVICE_TESTS := tests/browser tests/faults tests/integration/test_service.py tests/integration/test_stories.py tests/integration/test_check_in_stories.py
PYTEST := $(DEV)/python -m pytest -m "not slow" $(ARGS)

.PHONY: test
test: dev lint ## set up and pass every test but the slow ones
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-service test-parts

.PHONY: test-service
test-service:
	$(PYTEST) $(SERVICE_TESTS) || [ $$? -eq 5 ]

.PHONY: test-parts
test-parts:
	nice $(PYTEST) tests $(SERVICE_TESTS:%=--ignore=%) || [ $$? -eq 5 ]

.PHONY: test-slow
test-slow: dev ## fault storms and long runs
	$(DEV)/python -m pytest -m slow $(ARGS)
