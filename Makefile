# `make help` is the table of contents. Everything that a target needs is built on the way, once.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The control plane of tests and demo. Whoever has one, with kube-controller-manager in it, names its folder here.
K8S_VERSION := $(shell awk '$$1 == "k8s.io/kubernetes" { print $$2 }' hack/controlplane/go.mod)
ASSETS := $(or $(KUBEBUILDER_ASSETS),$(CURDIR)/bin/k8s/$(K8S_VERSION))
TOOLS := $(CURDIR)/bin/tools

# The race detector needs a C compiler.
RACE ?= $(if $(shell command -v $${CC:-gcc}),-race)
# COUNT=1 runs tests again whose result Go has cached.
COUNT ?=
# PACKAGES and RUN select tests: make test PACKAGES=./internal/oauth RUN=Fuzz
PACKAGES ?= ./...
RUN ?=

# Go runs a test again if its code has changed, or a file or variable that it reads. What a cluster is fed with and what
# runs in processes of its own is not seen that way, so such tests read this variable: it changes with every source file.
inputs = $$(git ls-files -z --cached --others --exclude-standard -- ':!docs' ':!*.md' | xargs -0 cat -- 2>/dev/null | git hash-object --stdin)

# What the image says it is, and which one dist/install.yaml and the chart's values name: make installer IMAGE=registry.example/oauth-operator VERSION=1.2.3
comma := ,
VERSION ?= dev
IMAGE ?= oauth-operator
DIST ?= dist
ARCHITECTURES := amd64,arm64

MODULES := . hack/controlplane hack/tools hack/helm hack/image test/authserver test/envoycheck

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: test
test: build controlplane tools authserver envoycheck helm ## Run all tests against a real API server; the last line counts them. See COUNT, PACKAGES, RUN.
	@KUBEBUILDER_ASSETS='$(ASSETS)' OAUTH_OPERATOR='$(CURDIR)/bin/oauth-operator' GOLANGCI_LINT='$(TOOLS)/golangci-lint' AUTHSERVER='$(CURDIR)/bin/authserver/authserver' ENVOYCHECK='$(CURDIR)/bin/envoycheck/envoycheck' HELM='$(CURDIR)/bin/helm' PROMETHEUS='$(CURDIR)/bin/prometheus' NGINX='$(CURDIR)/bin/nginx' GINKGO_PRESERVE_CACHE=true TEST_INPUTS="$(inputs)" \
	  RACE='$(RACE)' COUNT='$(COUNT)' RUN='$(RUN)' hack/test.sh $(PACKAGES) | go run ./hack/testsum

.PHONY: browser
browser: ## Install Chromium, for the tests in a browser (Debian and Ubuntu; needs root). Without one they are skipped.
	@command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; }
	@chromium --version

.PHONY: prometheus
prometheus: ## Get Prometheus and promtool into bin/prometheus (Debian and Ubuntu), for the tests of alerts and dashboard. Without them they are skipped.
	@hack/prometheus.sh '$(CURDIR)/bin/prometheus'

.PHONY: nginx
nginx: ## Get nginx into bin/nginx (Debian and Ubuntu), for the test of its example. Without it that is skipped.
	@hack/nginx.sh '$(CURDIR)/bin/nginx'

.PHONY: pictures
pictures: ## Take pictures of the consent pages and of kubectl oauth into docs/pictures, with Chromium.
	@mkdir -p docs/pictures
	@PICTURES='$(CURDIR)/docs/pictures' go test ./internal/consent -count=1 -run TestPicturesOfThePages
	@PICTURES='$(CURDIR)/docs/pictures' go test ./internal/plugin -count=1 -run TestPicturesOfTheCommands

.PHONY: fuzz
fuzz: ## Fuzz every parser of what strangers write, one after the other, each for FUZZTIME=10m. PACKAGES selects.
	@hack/fuzz.sh '$(or $(FUZZTIME),10m)' $(PACKAGES)

.PHONY: test-faults
test-faults: build controlplane ## Kill, stop and cut off the real operator at every point of a rotation and of a consent, and judge what was lost. SEED=1. Twenty minutes.
	CGO_ENABLED=0 go build -trimpath -o bin/ ./test/faults
	@hack/mutants/build.sh bin/mutants > bin/mutants.flags
	@KUBEBUILDER_ASSETS='$(ASSETS)' bin/faults --full --seed=$(or $(SEED),1) --operator=bin/oauth-operator --expect-losses $$(cat bin/mutants.flags)

.PHONY: test-rotations
test-rotations: build controlplane authserver ## Connect 50 accounts at an OAuth server that is not ours, and spend 1,000 refresh tokens there. ROTATIONS=1000. Three minutes.
	@KUBEBUILDER_ASSETS='$(ASSETS)' OAUTH_OPERATOR='$(CURDIR)/bin/oauth-operator' AUTHSERVER='$(CURDIR)/bin/authserver/authserver' ROTATIONS=$(or $(ROTATIONS),1000) \
	  go test -count=1 -v -run '^TestConnectRotateRevokeReconnect$$' ./test/e2e

.PHONY: test-stories
test-stories: controlplane ## Play every story of a person's code with every kind of provider; make test plays some of them.
	@KUBEBUILDER_ASSETS='$(ASSETS)' STORIES=all go test -count=1 -timeout 30m ./test/stories

.PHONY: test-mutants
test-mutants: controlplane tools ## Break the code in many small ways and want the tests to notice each.
	@KUBEBUILDER_ASSETS='$(ASSETS)' hack/mutants/run.sh

.PHONY: bench
bench: build controlplane ## Measure speed, memory and what is written, each against a baseline of the same run. A quarter of an hour; keep the machine idle. ARGS=--smoke
	CGO_ENABLED=0 go build -trimpath -o bin/ ./test/bench
	@KUBEBUILDER_ASSETS='$(ASSETS)' bin/bench --operator=bin/oauth-operator $(ARGS)

.PHONY: demo
demo: build controlplane $(if $(FROM),from-$(FROM)) ## Show it: a cluster, a provider and the operator on this machine. KEEP=1 leaves it running; CONSENT=browser has you consent; FROM=chart installs by the chart.
	CGO_ENABLED=0 go build -trimpath -o bin/demo/ ./test/demo/... ./test/provider/cmd/provider
	@$(if $(FROM),INSTALLATION='$(CURDIR)/config/manager/namespace.yaml:$(CURDIR)/bin/demo/chart.yaml') KUBEBUILDER_ASSETS='$(ASSETS)' OAUTH_OPERATOR='$(CURDIR)/bin/oauth-operator' bin/demo/demo

# Where the front of the demo is, is known when it runs: it says so itself, in place of the URL here.
.PHONY: from-chart
from-chart: helm
	@mkdir -p bin/demo
	@bin/helm/helm template oauth-operator charts/oauth-operator --namespace oauth-operator-system \
	  --set settings.insecureAllowLoopback=true --set consent.url=https://consent.example > bin/demo/chart.yaml

from-%:
	@echo "demo: FROM=$* is not known: write FROM=chart, or leave it out" >&2; exit 1

.PHONY: demo-mutants
demo-mutants: build controlplane ## Run the demo with each mutant of the protocol: it is the fault tests that must notice them.
	CGO_ENABLED=0 go build -trimpath -o bin/demo/ ./test/demo/... ./test/provider/cmd/provider
	@hack/mutants/build.sh bin/mutants > bin/mutants.flags
	@KUBEBUILDER_ASSETS='$(ASSETS)' hack/mutants/demo.sh bin/mutants bin/demo/demo

.PHONY: build
build: ## Build the operator and the kubectl plugin into bin/.
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...
	@install -m 755 cmd/kubectl-oauth/kubectl_complete-oauth bin/

.PHONY: image
image: ## Build the image for amd64 and arm64 into bin/image, without a container engine, and look at it again. VERSION=dev
	@for architecture in $(subst $(comma), ,$(ARCHITECTURES)); do \
	  echo "building the operator for linux/$$architecture"; mkdir -p "bin/image/$$architecture"; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$architecture go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' \
	    -o "bin/image/$$architecture/" ./cmd/oauth-operator; \
	done
	@GOWORK=off go build -C hack/image -trimpath -o '$(CURDIR)/bin/image/image' .
	@bin/image/image --binaries=bin/image --out=bin/image --version='$(VERSION)' --architectures='$(ARCHITECTURES)' \
	  --revision="$$(git rev-parse HEAD)" --created="$$(git log -1 --format=%ct)"

.PHONY: installer
installer: helm ## Write dist/install.yaml: the namespace and all that the chart has without values, for kubectl apply. IMAGE=oauth-operator VERSION=dev
	@mkdir -p '$(DIST)'
	@{ cat config/manager/namespace.yaml; bin/helm/helm template oauth-operator charts/oauth-operator --namespace oauth-operator-system \
	  --set-string image.repository='$(IMAGE)',image.tag='$(VERSION)'; } > '$(DIST)/install.yaml'
	@echo "$(DIST)/install.yaml installs $(IMAGE):$(VERSION)"

.PHONY: generate
generate: tools ## Write what is generated: deep copies, CRDs, the API reference, the chart's copies.
	$(TOOLS)/controller-gen object paths=./api/...
	$(TOOLS)/controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	@mkdir -p docs/api
	$(TOOLS)/crd-ref-docs --source-path=api/v1alpha1 --config=hack/crd-ref-docs.yaml --renderer=markdown --output-path=docs/api/v1alpha1.md
	hack/chart.sh

.PHONY: fmt
fmt: tools ## Format the Go code.
	$(TOOLS)/golangci-lint fmt

.PHONY: lint
lint: tools ## Check the Go code, and who imports whom.
	$(TOOLS)/golangci-lint run ./...

.PHONY: verify
verify: tools ## Generate, check that modules are tidy, lint, and fail if anything changed.
	@hack/verify.sh $(MODULES)

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl, once.
	@hack/controlplane/build.sh

.PHONY: helm
helm: ## Build Helm 4 and Helm 3, once.
	@hack/helm/build.sh

.PHONY: authserver
authserver: ## Build the authorization server that the end-to-end tests connect to, once.
	@test/authserver/build.sh

.PHONY: envoycheck
envoycheck: ## Build the program that reads Envoy's files as Envoy's API defines them, once.
	@test/envoycheck/build.sh

.PHONY: tools
tools: ## Build controller-gen, crd-ref-docs, kustomize and golangci-lint, once.
	@hack/tools/build.sh

.PHONY: clean
clean: ## Remove what was built here. The shared cache of control plane and tools stays.
	rm -rf bin
