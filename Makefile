# Everything a fresh clone needs. Each target can be run again at any time.

CARGO ?= cargo

.PHONY: help run test test-long faults crash reliability test-kryoptic test-python test-examples test-interop lint bench bench-record proto-lint clean

help:                ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run:                 ## Install, build, start a development service, sign and verify once, stay up
	@./scripts/run.sh

# The tests start the real binary, which cargo builds with them (crates/cli has integration tests). Building it alone
# first would build most crates twice: tests ask tokio for more features. --locked: Cargo.lock is part of what is tested.
# --no-fail-fast: one run says all that is wrong.
test:                ## Install, build, run every test
	@./softhsm/install.sh
	$(CARGO) test --workspace --locked --no-fail-fast

# Named one by one: what else is ignored measures and asserts nothing.
test-long:           ## Tests that take minutes: a stream of 100,000 messages with a slow reader
	@./softhsm/install.sh
	$(CARGO) test --workspace --locked --test stream_sign -- --ignored a_hundred_thousand_messages

faults:              ## What a token can do wrong, made to happen: every return code in every function, an hour or more
	@./softhsm/install.sh
	$(CARGO) test --workspace --locked --no-run --test faults --test cli
	CHANCERY_FAULTS=all $(CARGO) test --workspace --locked --test faults

# The binary is built with the integration tests of crates/cli, so those are built, too.
crash: CHANCERY_CRASH_ROUNDS ?= 10000
crash:               ## Kill the service 10,000 times, and compare what clients hold with the record: an hour and more
	@./softhsm/install.sh
	$(CARGO) test --workspace --locked --no-run --test crash --test cli
	CHANCERY_CRASH_ROUNDS=$(CHANCERY_CRASH_ROUNDS) CHANCERY_CRASH_SEED=$(CHANCERY_CRASH_SEED) $(CARGO) test --workspace --locked --test crash -- --nocapture

# The page's tables are made of what the tests have found, on SoftHSM and on Kryoptic.
RELIABILITY_DIR ?= $(CURDIR)/target/reliability
RELIABILITY_TESTS := faults crash disk_faults revocations

reliability:         ## Run the tests of faults on both tokens, and write the tables of docs/reliability.md
	@./softhsm/install.sh
	@./kryoptic/build.sh
	rm -rf $(RELIABILITY_DIR)
	$(CARGO) test --workspace --locked --no-run $(addprefix --test ,$(RELIABILITY_TESTS)) --test cli
	CHANCERY_RELIABILITY_DIR=$(RELIABILITY_DIR) $(CARGO) test --workspace --locked $(addprefix --test ,$(RELIABILITY_TESTS))
	CHANCERY_RELIABILITY_DIR=$(RELIABILITY_DIR) CHANCERY_TEST_MODULE=kryoptic $(CARGO) test --workspace --locked --test faults
	CHANCERY_RELIABILITY_DIR=$(RELIABILITY_DIR) CHANCERY_WRITE_RELIABILITY=1 \
	    $(CARGO) test --workspace --locked --test reliability

# The tests that meet the token, and no others: the rest would only be run twice.
KRYOPTIC_TESTS := real_token cli algorithms signing mac random batch_verify stream_sign jwt jwks keys \
    tokens_and_health worker_faults record races secrets faults

# All in one call of cargo, as `make test` makes it: another selection of packages would build them with other features.
test-kryoptic:       ## The tests that meet the token, on Kryoptic (built once, some minutes) instead of SoftHSM
	@./softhsm/install.sh
	@./kryoptic/build.sh
	CHANCERY_TEST_MODULE=kryoptic $(CARGO) test --workspace --locked --no-fail-fast $(addprefix --test ,$(KRYOPTIC_TESTS))

test-python:         ## The pytest fixtures of testkit/python, and the contract as a Python caller meets it
	@./scripts/test-python.sh

test-examples:       ## Each program of examples/ whose toolchain is present: Rust, Python, Go, Java, Node
	@./scripts/test-examples.sh

test-interop:        ## PyJWT and jose verify JWTs, Kingfisher finds API keys, Go verifies an export of the log
	@./scripts/test-interop.sh

lint:                ## Formatting, clippy, protos, dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@$(MAKE) --no-print-directory proto-lint
	@./scripts/deny.sh

# Optimised, since that is what is worth measuring. Options: make bench BENCH='--in-flight 1 --algorithm ED25519'
bench:               ## Measure signing through the service against the device alone
	@./softhsm/install.sh
	$(CARGO) build --locked --release --bin chancery
	@./scripts/bench.sh $(BENCH)

# Takes a while and some eleven GB. BENCH_RECORD='--records 1000000' for less; TMPDIR=DIR says on which disk.
bench-record:        ## Make ten million records, and measure appending, proofs, verifying, searches, start, and Sign against none
	@./softhsm/install.sh
	$(CARGO) build --locked --release --bin chancery
	$(CARGO) run --locked --release -p chancery-testkit --example record_at_scale -- $(BENCH_RECORD)

proto-lint:          ## Lint proto/ with buf
	@./scripts/buf-lint.sh

clean:               ## Remove what was built; .chancery and its keys stay
	$(CARGO) clean
