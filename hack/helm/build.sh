#!/usr/bin/env bash
# Builds Helm 4, Helm 3, and what reads the kinds of others that the chart writes, at the versions that go.mod beside this script pins.
#
# They end up in bin/helm, which is a link into a cache that all checkouts share; hack/cached-build.sh tells how. They are a
# module of their own, apart from the other tools: Helm brings a client library of Kubernetes along, of another version.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
module=$root/hack/helm
name=helm
kind=helm
link=$root/bin/helm
programs=(
  "helm helm.sh/helm/v4/cmd/helm"
  # They share nearly all they are made of, so that it takes little longer than one of them.
  "helm3 helm.sh/helm/v3/cmd/helm"
  "strict github.com/oauth-operator/oauth-operator/hack/helm/strict"
)

# Helm 4 finds out by itself which Kubernetes it renders for where there is no cluster; Helm 3 is told when it is built.
minor=$(awk '$1 == "k8s.io/client-go" { split($2, version, "."); print version[2] }' "$module/go.mod")
told=helm.sh/helm/v3/pkg/chartutil

go_build() {
  exec env CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -v -trimpath -buildvcs=false \
    -ldflags "-s -w -X $told.k8sVersionMajor=1 -X $told.k8sVersionMinor=$minor" -o "$1" "$2"
}

# shellcheck source=hack/cached-build.sh
. "$root/hack/cached-build.sh"

ensure "$module/go.mod" "$module/go.sum" "$module/build.sh" "$module/strict/main.go"
