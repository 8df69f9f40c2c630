# `make` alone lists the targets: each has its line of help behind two number signs.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs compare

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

# COMPARE='--rounds 3 --only pgflow,pgmq' and the like; all flags: COMPARE=--help
compare: setup ## pgflow beside its rivals on one durable Postgres; writes benches/RESULTS.md (about 25 minutes)
	cd benches/peers/js && npm ci --no-audit --no-fund || echo "compare: npm has not installed the rivals in JavaScript; their rows will say so"
	$(CARGO) run --release --locked --manifest-path benches/peers/Cargo.toml -- --out benches $(COMPARE)
