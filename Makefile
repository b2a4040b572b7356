# `make demo` shows what Tarn does, `make test` runs everything that CI runs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export CARGO_TARGET_DIR ?= $(HOME)/.cache/tarn/target
export TARN_VENV ?= $(HOME)/.cache/tarn/venv
CARGO := cargo
PYTHON := $(TARN_VENV)/bin/python

.PHONY: help setup build demo test check fix bench

help:
	@echo "make demo   installs what is missing, builds, starts a cluster, loads the Star Schema Benchmark, runs its queries"
	@echo "make test   everything that CI runs"
	@echo "make build  the server and client: $(CARGO_TARGET_DIR)/release/tarn"
	@echo "make check  formatting, lints, dependency arrows; reads only"
	@echo "make fix    formats, and applies what lints suggest"
	@echo "make bench  measures against DuckDB and DataFusion; takes long"

setup:
	@bash scripts/setup.sh

build: setup
	$(CARGO) build --locked --release --bin tarn --bin tarn-ssb-gen

demo: build
	@bash scripts/demo.sh

# One profile: the tests drive the binary that users get, and dependencies are built once.
test: build
	$(CARGO) nextest run --locked --release --workspace
	$(PYTHON) -m pytest tests/python

check:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --release --workspace --all-targets -- -D warnings
	$(CARGO) nextest run --locked --release -p tarn -E 'test(/^arrows::/)'
	@if command -v typos >/dev/null; then typos; else echo "check: typos is not installed, spelling not checked"; fi
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check; \
	 else echo "check: cargo-deny is not installed, licences and advisories not checked"; fi

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --locked --release --workspace --all-targets --fix --allow-dirty --allow-staged
	@if command -v typos >/dev/null; then typos --write-changes; fi

bench: build
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(PYTHON) bench/run.py
