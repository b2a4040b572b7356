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
	@echo "make test   everything that CI runs: Rust tests, then real clients, S3, faults, answers against DuckDB"
	@echo "make build  the server and client: $(CARGO_TARGET_DIR)/release/tarn"
	@echo "make check  formatting and lints; reads only"
	@echo "make fix    formats, and applies what lints suggest"
	@echo "make bench  measures against DuckDB and DataFusion; takes long"

setup:
	@bash scripts/setup.sh

build: setup
	$(BUILD)

demo: build
	@bash scripts/demo.sh

# What builds and runs selects the whole workspace in the release profile: then nothing is compiled twice.
BUILD := $(CARGO) build --locked --release --workspace --bins

test: setup
	$(BUILD)
	$(CARGO) nextest run --locked --release --workspace --no-fail-fast
	cd tests/python && $(PYTHON) -m pytest

check:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if command -v typos >/dev/null; then typos; fi

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged
	@if command -v typos >/dev/null; then typos --write-changes; fi

bench: build
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	$(PYTHON) bench/tablets.py
	$(PYTHON) bench/run.py
