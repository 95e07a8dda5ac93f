# vnet-cni: `make help` lists the targets.
SHELL := /bin/bash
GO ?= go
BIN := bin
PEERS := .cache/peers
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -buildid= -X github.com/vnet-cni/vnet-cni/pkg/cnimain.Version=$(VERSION)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
# Packages that need neither root nor a namespace of their own to be tested, and those that do.
UNIT := ./cmd/... ./ipam/... ./pkg/... ./plugins/...
FUZZTIME ?= 10s

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: toolchain ## static, stripped, reproducible binaries in bin/
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/vnet ./plugins/vnet
	$(BUILD) -o $(BIN)/vnet-ipam ./ipam/vnet-ipam

.PHONY: toolchain
toolchain:
	@scripts/setup.sh go
