# `make` alone lists the targets: each has its line of help behind two number signs.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help setup patroni demo test lint docs compare faults failover soak

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Looks for Rust, a C compiler and Postgres; installs what the system's package manager has
	@scripts/setup

patroni: ## Looks for Patroni and etcd, for the tests of failover alone; installs them where there is apt-get
	@scripts/setup patroni

demo: setup ## Starts a Postgres and runs the evolution system on it
	$(CARGO) run --release -p pgflow-actors --bin evolution -- demo

test: setup patroni ## All tests, on a Postgres of their own
	$(CARGO) test --workspace --all-features

lint: ## Format and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

docs: ## The API's documentation, warnings are errors
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --all-features

# SEED='1 2 3' by default; FAULT=F7 runs one family, FAULT=F7d one cell; SECONDS of load in each. PGFLOW_PG_BIN chooses the Postgres.
SEED ?= 1 2 3
SECONDS ?= 10
faults: setup patroni ## The fault matrix; writes tests/faults/REPORT.md (FAULT=F7, SEED=5, SECONDS=30: some of it). And each operation failed
	for seed in $(SEED); do PGFLOW_FAULTS_SEED=$$seed PGFLOW_FAULTS_ONLY=$(FAULT) PGFLOW_FAULTS_SECONDS=$(SECONDS) \
	  PGFLOW_FAULTS_REPORT=tests/faults/REPORT.md $(CARGO) test --all-features --test faults -- --nocapture ::f || exit 1; done
	[ -n "$(FAULT)" ] || PGFLOW_NTH=all $(CARGO) test --all-features --test nth_operation

failover: ## Its part about failover: Patroni with etcd, and two servers by hand
	$(MAKE) faults FAULT=F9

HOURS ?= 1
soak: setup ## Deaths, ended backends and a bad network at random for HOURS, in rounds of two minutes with a seed each
	PGFLOW_FAULTS_HOURS=$(HOURS) PGFLOW_FAULTS_SEED=$(firstword $(SEED)) PGFLOW_FAULTS_ONLY=F19 PGFLOW_FAULTS_SECONDS=120 \
	  $(CARGO) test --all-features --test faults -- --nocapture ::f19

# COMPARE='--rounds 3 --only pgflow,pgmq' and the like; all flags: COMPARE=--help
compare: setup ## pgflow beside its rivals on one durable Postgres; writes benches/RESULTS.md (about 25 minutes)
	cd benches/peers/js && npm ci --no-audit --no-fund || echo "compare: npm has not installed the rivals in JavaScript; their rows will say so"
	$(CARGO) run --release --locked --manifest-path benches/peers/Cargo.toml -- --out benches $(COMPARE)
