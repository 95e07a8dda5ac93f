# vnet-cni: `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
export PATH := $(PATH):/usr/sbin:/sbin
GO ?= go
BIN := bin
PEERS := .cache/peers
LINT := .cache/lint/golangci-lint
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -buildid= -X github.com/vnet-cni/vnet-cni/pkg/cnimain.Version=$(VERSION)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
UNIT := ./cmd/... ./ipam/... ./pkg/... ./plugins/...
IMAGE ?= vnet-cni/vnet-agent:dev
FUZZTIME ?= 10s
# A hang ends after TIMEOUT; a busy machine under the race detector does not.
TIMEOUT ?= 30m
TESTFLAGS ?=
# Each test says how much it did.
TOLD := awk -f scripts/counts.awk

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: need-go ## static, stripped, reproducible binaries in bin/
	$(BUILD) -o $(BIN)/vnet ./plugins/vnet
	$(BUILD) -o $(BIN)/vnet-nsg ./plugins/vnet-nsg
	$(BUILD) -o $(BIN)/vnet-ipam ./ipam/vnet-ipam
	$(BUILD) -o $(BIN)/vnetctl ./cmd/vnetctl

.PHONY: agent
agent: need-go ## the node agent for Kubernetes, in bin/
	cd cmd/vnet-agent && $(BUILD) -o ../../$(BIN)/vnet-agent .

.PHONY: image
image: build agent peers ## the agent's image, with docker; IMAGE=name:tag
	rm -rf $(BIN)/image && mkdir -p $(BIN)/image/opt/vnet-cni/bin $(BIN)/image/usr/local/bin
	cp $(BIN)/vnet-agent $(BIN)/image/
	cp $(BIN)/vnet $(BIN)/vnet-nsg $(BIN)/vnet-ipam $(BIN)/vnetctl $(PEERS)/portmap $(PEERS)/loopback $(BIN)/image/opt/vnet-cni/bin/
	cp $(BIN)/vnetctl $(BIN)/image/usr/local/bin/
	BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build -q -t $(IMAGE) -f cmd/vnet-agent/Dockerfile .

.PHONY: demo
demo: need-root need-net build peers ## two nodes and three pods in network namespaces (root)
	@scripts/demo.sh

.PHONY: test
test: need-root need-test build peers ## unit tests, then tests with real packets (root; under five minutes)
	@$(MAKE) --no-print-directory -j2 -Otarget unit sdk agent-unit
	@$(MAKE) --no-print-directory integration

.PHONY: unit
unit: need-go need-root need-test ## the packages' own tests (root: some make namespaces)
	$(GO) test -v -timeout $(TIMEOUT) $(TESTFLAGS) $(UNIT) | $(TOLD)

.PHONY: integration # four at a time: they mostly wait, for a plugin or a packet
integration: need-root need-test build peers ## the built plugins, driven by cnitool in network namespaces (root)
	$(GO) test -count=1 -v -parallel 4 -timeout $(TIMEOUT) $(TESTFLAGS) ./integration/... | $(TOLD)

.PHONY: sdk
sdk: need-go ## our readers of documents and our answers against the types of Azure's SDK
	cd integration/arm && $(GO) test -v -timeout $(TIMEOUT) $(TESTFLAGS) ./... | awk -f ../../scripts/counts.awk

.PHONY: agent-unit
agent-unit: need-root need-test build peers ## the node agent's own tests, which use the built plugins
	cd cmd/vnet-agent && $(GO) test -count=1 -v -timeout $(TIMEOUT) $(TESTFLAGS) ./... | awk -f ../../scripts/counts.awk

.PHONY: race
race: need-root need-test need-race build peers ## the packages' tests under the race detector
	$(GO) test -race -timeout $(TIMEOUT) $(TESTFLAGS) $(UNIT)
	cd cmd/vnet-agent && $(GO) test -race -timeout $(TIMEOUT) $(TESTFLAGS) ./...

.PHONY: soak
soak: need-root need-test build peers ## the long forms: every kill point, more rounds (root)
	VNET_SOAK=1 $(GO) test -count=1 -v -timeout 80m $(TESTFLAGS) ./pkg/arm ./pkg/firewall/... ./pkg/flowspace ./pkg/review ./integration/... | $(TOLD)
	$(GO) test -count=1 -timeout 40m $$(git grep -l pgregory.net/rapid -- '*_test.go' | xargs dirname | sort -u | sed 's,^,./,') \
		-rapid.checks=20000 -rapid.nofailfile

.PHONY: bench
bench: need-root need-bench build peers ## against the reference plugins, pair by pair (root); JSON=FILE for programs
	$(GO) run ./integration/bench $(if $(JSON),-json $(JSON)) $(BENCHFLAGS)

.PHONY: e2e # one package at a time, or go test shows nothing before the end
e2e: need-root need-go need-test need-cluster ## a real Kubernetes on this machine, with our network and everything that can go wrong (root; an hour)
	integration/cluster/build.sh kubernetes e2e containerd coredns plugins images agent
	cd integration/cluster && $(GO) test -p 1 -count=1 -v -timeout 100m -run TestHarness $(TESTFLAGS) ./... | awk -f ../../scripts/counts.awk

.PHONY: e2e-smoke
e2e-smoke: need-root need-go need-test need-cluster ## the short part of e2e
	integration/cluster/build.sh kubernetes e2e containerd coredns plugins images agent
	cd integration/cluster && $(GO) test -count=1 -v -timeout 30m -run TestHarnessSmoke $(TESTFLAGS) ./... | awk -f ../../scripts/counts.awk

.PHONY: fuzz
fuzz: need-go ## every fuzz target for FUZZTIME (default 10s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: lint
lint: need-go need-lint $(LINT) ## golangci-lint, go vet and shellcheck
	$(GO) vet ./...
	$(LINT) run ./...
	cd cmd/vnet-agent && $(GO) vet ./... && ../../$(LINT) run ./...
	cd integration/cluster && $(GO) vet ./... && ../../$(LINT) run ./...
	git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck

$(LINT): .ci/lint/go.mod .ci/lint/go.sum
	cd .ci/lint && $(GO) build -o ../../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: peers
peers: need-go # the reference plugins and cnitool, pinned in integration/peers/go.mod
	@integration/peers/build.sh $(PEERS)

.PHONY: install
install: build ## copy the binaries to /opt/cni/bin (root); CONFLIST=FILE also installs a configuration
	scripts/install.sh $(if $(CONFLIST),--conflist $(CONFLIST))

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN) .cache

need-%:
	@scripts/setup.sh $*
