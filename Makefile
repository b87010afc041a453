# The project's commands. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
EXECUTED := $(patsubst notebooks/%,book/executed/%,$(wildcard notebooks/*.ipynb))

.PHONY: help book test lab lint clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

book: $(READY) $(EXECUTED) ## run the notebooks that changed and build the book into _build/html
	@$(BIN)/ran tables > /dev/null
	@$(BIN)/jupyter-book build . -W --keep-going -n -q || \
	  { rm -rf _build/.doctrees; echo "The book has faults, see above." >&2; exit 1; }  # a cached page repeats no warning

test: book ## run all tests, those of the built book included
	@$(BIN)/pytest

lab: .venv/.lab ## edit the notebooks in JupyterLab
	@cd notebooks && ../$(BIN)/jupyter lab

lint: $(READY) ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean: ## remove the built book and the executed notebooks
	@rm -rf _build book/executed

book/executed/%.ipynb: notebooks/%.ipynb $(wildcard ran/*.py) book/execute.py | $(READY)
	@$(BIN)/python book/execute.py $<

# torch and torchvision must come out of one pip command, or they may not fit each other
$(READY): pyproject.toml
	@$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e ".[book,dev]"
	@touch $@

.venv/.lab: $(READY)
	$(BIN)/pip install -q -e ".[lab]"
	@touch $@
