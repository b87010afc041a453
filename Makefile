# The project's commands. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
PROFILE ?= smoke
# small networks do not fill two cores, so two of them run side by side
CORES := $(shell getconf _NPROCESSORS_ONLN)
JOBS ?= $(if $(filter smoke study,$(PROFILE)),$(CORES),1)

.PHONY: help book translations pdf test test-book test-slurm reproduce lab lint lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

book: $(READY) ## run the notebooks that changed and build the book, English and Korean, into _build/html
	@$(BIN)/ran tables > /dev/null
	@$(BIN)/python book/explorer.py $(if $(NETWORK),--weights $(NETWORK))
	@$(BIN)/python book/execute.py
	@rm -rf _build/html/ko
	@$(BIN)/jupyter-book build . -W --keep-going -n -q || \
	  { rm -rf _build/.doctrees; echo "The book has faults, see above." >&2; exit 1; }  # a cached page repeats no warning
	@$(BIN)/python book/translate.py build

translations: $(READY) ## take what changed in the executed book into the catalogues, book/locale, and say what is to translate
	@$(BIN)/python book/translate.py update

pdf: book ## print the book into _build/book.pdf, by Chromium
	@$(BIN)/jupyter-book build . --builder custom --custom-builder singlehtml -q > /dev/null
	@$(BIN)/python book/pdf.py

# one process more than cores: many tests wait for processes
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n $$(($(CORES) + 1)) --dist worksteal

test: $(READY) ## test the package, in under four minutes
	@$(PYTEST) --ignore tests/book

test-book: book ## test the built book, every page of it in a browser
	@$(PYTEST) tests/book

test-slurm: ## run the Snakefile on a Slurm cluster of one node: as root in a throw-away container
	@tests/slurm/run.sh $(BIN)/python

reproduce: $(READY) ## run the cells of the paper's tables that have no record: make reproduce PROFILE=study
	@$(BIN)/ran run --table all --profile $(PROFILE) --jobs $(JOBS) $(OPTIONS)

lab: .venv/.lab ## edit the notebooks in JupyterLab
	@cd notebooks && ../$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)

lint: $(READY) ## check style, types, and which room imports which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

clean: ## remove the built book and the executed notebooks
	@rm -rf _build book/executed book/_static/made

lock: $(READY) ## renew requirements.lock: the newest versions that pyproject.toml, and pip where it has a constraint, allow
	@UV_CONSTRAINT=$$($(BIN)/pip config list | sed -n "s/^.*\.constraint='\(.*\)'$$/\1/p" | head -1) $(BIN)/uv pip compile --upgrade --universal \
	  --python-version 3.11 --extra book --extra dev --generate-hashes --no-emit-index-url --no-annotate --quiet \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

# what the lock is tested for; torch and torchvision must come out of one pip command, or they may not fit each other
LOCKED := import platform as p, sys; sys.exit((p.system(), p.machine()) != ("Linux", "x86_64") or sys.version_info[:2] not in ((3, 11), (3, 12)))

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -m venv .venv
	@if $(BIN)/python -c '$(LOCKED)'; then set -x; \
	  $(BIN)/pip install -q --require-hashes -r requirements.lock && \
	  $(BIN)/pip install -q --no-deps --no-build-isolation -e .; \
	else echo "requirements.lock is for Python 3.11 and 3.12 on Linux x86-64: taking what pyproject.toml allows"; set -x; \
	  $(BIN)/pip install -q -e ".[book,dev]"; fi
	@touch $@

.venv/.lab: $(READY)
	$(BIN)/pip install -q -e ".[lab]"
	@touch $@
