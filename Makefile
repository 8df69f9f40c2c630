# `make` alone lists the targets: each has its line of help behind two number signs.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Looks for Rust, a C compiler and Postgres; installs what the system's package manager has
	@scripts/setup

demo: setup ## Starts a Postgres and runs the evolution system on it
	$(CARGO) run --release -p pgflow-actors --bin evolution -- demo

test: setup ## All tests, on a Postgres of their own
	$(CARGO) test --workspace --all-features

lint: ## Format and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

docs: ## The API's documentation, warnings are errors
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --all-features
