# What one does with a clone. Everything lands in it: target/, .onnxruntime/, .tools/, .venv*/, demo/, node_modules/ of a test.

asepsis := $(or $(CARGO_TARGET_DIR),target)/release/asepsis
config  := demo/asepsis.toml
# What the release is optimised for (docs/adr/0021), if the compiler's LLVM can read it; `make profile` makes it anew.
llvm    := $(shell rustc -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profile := $(wildcard $(CURDIR)/pgo/llvm-$(llvm).profdata)
pgo     := RUSTFLAGS="$(RUSTFLAGS)$(if $(profile), -Cprofile-use=$(profile))"

.DEFAULT_GOAL := help
.PHONY: help demo serve client test check fuzz interop bench compare calibrate evaluate build profile fetch clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: build ## install what is missing, build, show a guarded model: answers, refusals, blocked attacks
	$(asepsis) demo

serve: build ## the demo's sidecar in the foreground (gRPC 8001, admin 8002, operations 8003)
	test -f $(config) || $(asepsis) demo --prepare
	$(asepsis) serve --config $(config)

client: build ## one row of each kind to the sidecar that `make serve` runs
	$(asepsis) client --config $(config)

test: fetch ## all of cargo's tests
	cargo test --locked
	cargo test --locked --features cedar --lib -- admission:: cli::access

check: fetch ## format, lints, documentation, architecture, supply chain
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --lib --features cedar -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	cargo test --locked --test architecture
	scripts/supply-chain

fuzz: ## each fuzz target for SECONDS (default 60) from its corpus; TARGETS names some of them
	@scripts/prerequisites rust c++
	SECONDS_EACH=$(or $(SECONDS),60) scripts/fuzz $(TARGETS)

interop: build ## published clients, a collector, an OpenID provider, Envoy and Prometheus against the release (ARGS goes to pytest)
	ASEPSIS_BINARY=$(asepsis) scripts/interop $(ARGS)

bench: fetch ## the benchmarks that docs/SPECIFICATION.md quotes
	$(pgo) cargo bench --locked

profile: ## what the release is optimised for, measured anew, into pgo/
	scripts/profile

compare: build ## other servers and proxies beside the release, into docs/PEERS.md and README (ARGS=--quick: to try it out)
	ASEPSIS_BINARY=$(asepsis) scripts/compare-peers $(ARGS)

calibrate: build ## MODEL=models/NAME/VERSION CLEAN=FILE.npz [ATTACKED=FILE.npz]
	$(asepsis) calibrate --model $(or $(MODEL),$(error MODEL=models/NAME/VERSION is missing)) \
		--clean $(or $(CLEAN),$(error CLEAN=FILE.npz is missing)) \
		$(and $(ATTACKED),--attacked $(ATTACKED))

evaluate: build ## attacks against the release, into docs/EVALUATION.md; or MODEL=FILE.onnx CLEAN=FILE.npz; QUICK=1: few rows
	ASEPSIS_BINARY=$(asepsis) scripts/evaluate $(and $(MODEL),--model $(MODEL)) $(and $(CLEAN),--clean $(CLEAN)) $(and $(QUICK),--quick)

build: fetch ## the release binary
	$(pgo) cargo build --release --locked

fetch: ## ONNX Runtime, into .onnxruntime/
	@scripts/prerequisites rust pip
	@scripts/fetch-onnxruntime

clean: ## everything that the targets above made
	cargo clean
	rm -rf .onnxruntime .tools .venv .venv-interop .venv-evaluate .venv-peers .pytest_cache evaluation/work tests/interop/oidc/node_modules tests/interop/grafana/node_modules demo
