#!/usr/bin/env bash
# Builds the programs that generate, format and check, at the versions that go.mod beside this script pins.
#
# They end up in bin/tools, which is a link into a cache that all checkouts share; hack/cached-build.sh tells how.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
module=$root/hack/tools
name=tools
kind=tools
link=$root/bin/tools
programs=(
  "controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen"
  "crd-ref-docs github.com/elastic/crd-ref-docs"
  "kustomize sigs.k8s.io/kustomize/kustomize/v5"
  "golangci-lint github.com/oauth-operator/oauth-operator/hack/tools/golangci-lint"
)

go_build() {
  exec env CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -v -trimpath -buildvcs=false -ldflags "-s -w" -o "$1" "$2"
}

# shellcheck source=hack/cached-build.sh
. "$root/hack/cached-build.sh"

ensure "$module/go.mod" "$module/go.sum" "$module/build.sh" "$module/golangci-lint/main.go"
