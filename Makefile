# Sets the project up in .venv and runs it. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.complete
# Processes that share the tests; each runs on one core.
WORKERS ?= 2
# cpu: PyTorch without CUDA, from its own index, which saves gigabytes where there is no GPU. Without: what PyPI has.
TORCH ?=
# Of `make fuzz`: mutations of every kind of file, and which.
FUZZ_MUTATIONS ?= 600
FUZZ_SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help demo test test-all fuzz reliability lint format venv clean distclean system-libraries colmap chromium

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: venv ## render a small photo collection, reconstruct it and print the error against the truth
	$(VENV)/bin/python -m interpose_sfm demo --output demo_output

test: lint colmap chromium ## check style and types, then run the tests but the long ones
	$(VENV)/bin/python -m pytest -n $(WORKERS) -m "not long"

test-all: lint colmap chromium ## the same with the long tests, which seldom break
	$(VENV)/bin/python -m pytest -n $(WORKERS)

fuzz: venv ## damage every kind of file that is read, ten thousand times
	FUZZ_MUTATIONS=$(FUZZ_MUTATIONS) FUZZ_SEED=$(FUZZ_SEED) $(VENV)/bin/python -m pytest -n $(WORKERS) --dist=load tests/faults

reliability: venv ## try all that can go wrong, and write docs/reliability.md
	$(VENV)/bin/python tools/reliability.py

lint: venv ## check style, types and which package imports which
	$(VENV)/bin/python -m ruff check
	$(VENV)/bin/python -m ruff format --check
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/lint-imports --no-logo

format: venv ## put the code in the house format
	$(VENV)/bin/python -m ruff check --fix
	$(VENV)/bin/python -m ruff format

venv: $(STAMP) ## make the virtual environment, with everything the package needs

# The stamp is written last: an installation that was interrupted is done again.
$(STAMP): setup.cfg pyproject.toml | system-libraries
	tools/virtual_environment.sh "$(PYTHON)" "$(VENV)" "$(TORCH)"
	@touch $@

system-libraries:
	@tools/system_libraries.sh "$(PYTHON)"

# The test that reads a database of COLMAP's command line, and has it read our models, is skipped without it.
colmap:
	@command -v colmap >/dev/null || tools/colmap_command_line.sh

# The tests that open the report in a browser are skipped without it.
chromium:
	@command -v chromium >/dev/null || tools/chromium.sh

clean: ## remove what the tools and the demo wrote
	rm -rf build dist demo_output .reliability .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## remove the virtual environment as well
	rm -rf $(VENV)
