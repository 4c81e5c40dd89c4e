# What there is to do here. Every target does the set-up that it needs; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Folders count too, so that a removed file is noticed.
files = $(shell find $(1) -name node_modules -prune -o \( -type f -o -type d \) -print)
BOTH_INPUTS := Cargo.toml Cargo.lock .cargo/config.toml $(call files,app)
SITE_INPUTS := $(BOTH_INPUTS) $(call files,frontend style) $(addprefix scripts/,site.sh env.sh assets.mjs optimise.mjs pack.mjs pack-loader.js wasm.mjs budgets.mjs compress.mjs)
SERVER_INPUTS := $(BOTH_INPUTS) $(call files,server migrations)

# What `make run` starts with; each can be given on the command line.
LISTEN ?= 127.0.0.1:3000
EGRESS_ALLOW ?= 127.0.0.0/8,[::1]/128

# How long `make soak` lasts.
MINUTES ?= 60

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## install the tools that building needs
	@scripts/setup.sh build

setup-test: ## install what the tests need as well
	@scripts/setup.sh test

run: setup ## build, and start on 127.0.0.1:3000 with SQLite under ./data
	@$(MAKE) --no-print-directory dist/gatehouse
	@echo "GATEHOUSE_DEMO=on: the built-in demo MCP server can be added with one click."
	@echo "GATEHOUSE_EGRESS_ALLOW=$(EGRESS_ALLOW): MCP servers on this machine can be added. Leave it out in production."
	@GATEHOUSE_LISTEN='$(LISTEN)' GATEHOUSE_DEMO=on GATEHOUSE_EGRESS_ALLOW='$(EGRESS_ALLOW)' exec dist/gatehouse serve

build: setup ## one self-contained binary, dist/gatehouse
	@$(MAKE) --no-print-directory dist/gatehouse

dev: setup ## rebuild and restart at each change
	@GATEHOUSE_LISTEN='$(LISTEN)' GATEHOUSE_DEMO=on GATEHOUSE_EGRESS_ALLOW='$(EGRESS_ALLOW)' scripts/dev.sh

site: setup ## what the browser loads, in target/site
	@$(MAKE) --no-print-directory target/site.stamp

sizes: site ## what a visitor downloads, against the budgets
	@node scripts/sizes.mjs target/site

check: setup-test lint ## the quick subset: formatting, lints, native tests on SQLite
	@scripts/native-tests.sh --quick

test: setup-test lint native sizes build end2end conformance ## everything

lint:
	cargo fmt --all --check
	node scripts/requirements.mjs --check
	node scripts/features.mjs
	cargo clippy --workspace --exclude frontend --all-targets -- -D warnings
	cargo clippy -p frontend --target wasm32-unknown-unknown -- -D warnings

native: setup-test
	scripts/native-tests.sh

end2end: setup-test build ## browser flows against dist/gatehouse
	cd end2end && npx --no-install playwright test

conformance: setup-test build ## the official MCP conformance suite through dist/gatehouse
	@node end2end/conformance/run.mjs

lighthouse: setup-test build ## Lighthouse figures of some pages, as on a phone
	@node end2end/lighthouse.mjs

bench: setup-test build ## figures of the data plane and of OAuth, on both databases (docs/benchmarks.md)
	@scripts/bench.sh

soak: setup-test build ## an hour of clients that misbehave: memory has to stay where it is (MINUTES=N for less)
	@scripts/bench.sh soak --minutes '$(MINUTES)'

audit: ## licences, advisories and duplicates of the dependencies
	@scripts/setup.sh audit
	. scripts/env.sh && cargo deny check

target/site.stamp: $(SITE_INPUTS)
	@echo "building the site in release (some minutes at first, half a minute later)"
	scripts/site.sh
	@touch $@

dist/gatehouse: target/site.stamp $(SERVER_INPUTS)
	@echo "building the server in release (ten minutes or more at first on two cores)"
	cargo build --release -p server --features embed-site
	install -D target/release/gatehouse $@

.PHONY: help setup setup-test run build dev site sizes check test lint native end2end conformance lighthouse bench soak audit
