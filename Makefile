# Every chore is one command. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Where it is set, as in many a container, every process would compile all that it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-fast torch lint format bench lock schema reference clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.demo  ## train, compare and judge a small real model: three minutes, no network once installed
	@$(BIN)/metricgate demo

# As many processes as processors: threads of theirs would only wait for one another.
test test-fast: export OMP_NUM_THREADS = 1
test test-fast: export TF_NUM_INTRAOP_THREADS = 1
test test-fast: export TF_NUM_INTEROP_THREADS = 1

test: $(VENV)/.dev  ## all tests
	$(BIN)/pytest -n auto --dist worksteal

test-fast: $(VENV)/.dev  ## the tests that need seconds
	$(BIN)/pytest -n auto -m "not slow"

torch: $(VENV)/.dev  ## PyTorch and Transformers too, for the tests of their hooks
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements/torch.txt

lint: $(VENV)/.dev  ## style, types, layers, workflows, schemas
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/metricgate schema | diff -u metricgate.schema.json -
	$(BIN)/zizmor --offline --quiet action.yml actions .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions action.yml $$(find actions -name action.yml)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $$(find .github/workflows -name '*.yml')
	$(BIN)/check-jsonschema --schemafile metricgate.schema.json $$(git ls-files '*metricgate.yaml')

format: $(VENV)/.dev  ## apply the style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev  ## the measurements of the docs, as ratios
	$(BIN)/python -m benchmarks

schema: $(VENV)/.dev  ## write the JSON Schema of metricgate.yaml
	$(BIN)/metricgate schema > metricgate.schema.json.tmp && mv metricgate.schema.json.tmp metricgate.schema.json

reference: $(VENV)/.dev  ## write the README's tables of inputs and outputs
	$(BIN)/python -m metricgate.github.reference

lock: $(VENV)/.dev  ## resolve requirements/*.in again, with hashes, for every platform and Python
	for set in dev demo core release tune kubernetes server-keras server-onnx server-pip setup; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-strip-extras --no-header --no-annotate \
	    $$([ $$set = dev ] || echo --constraint requirements/dev.txt) requirements/$$set.in --output-file requirements/$$set.txt || exit 1; \
	done

clean:  ## remove what make made
	rm -rf $(VENV) .metricgate demo-output

# The environment is rebuilt when its lock changes. Every hash is checked: pip installs uv, and uv the rest, as the actions do. The
# project itself is built without isolation, by the build backend that the lock names.
$(VENV)/.%: requirements/%.txt $(VENV)/.uv pyproject.toml
	@echo "Installing the locked environment ($<) …"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $<
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.uv: requirements/setup.txt
	@$(PYTHON) -c 'import sys; sys.exit("metricgate needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; say which with make PYTHON=python3.12") if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
