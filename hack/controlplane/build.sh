#!/usr/bin/env bash
# Builds the Kubernetes control plane that the tests and the demo run against: etcd, kube-apiserver,
# kube-controller-manager and kubectl, at the versions that go.mod beside this script pins, from Go modules alone.
#
# They end up side by side in bin/k8s/<version>, which is what KUBEBUILDER_ASSETS wants to be. That is a link into a cache
# which all checkouts share, so nothing is built twice; hack/cached-build.sh tells how. A first build takes a few minutes.
#
# If KUBEBUILDER_ASSETS is set already, nothing is built: that folder is used, and only checked.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
module=$root/hack/controlplane
name=controlplane
kind=k8s
version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$module/go.mod")
link=$root/bin/k8s/$version
programs=(
  "etcd go.etcd.io/etcd/server/v3"
  "kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver"
  "kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager"
  "kubectl k8s.io/kubernetes/cmd/kubectl"
)

# Without a version the API server would call itself v0.0.0-master, and clients that look at it would misjudge it.
go_build() {
  local minor=${version#v*.}
  local ldflags="-s -w"
  ldflags+=" -X k8s.io/component-base/version.gitVersion=$version"
  ldflags+=" -X k8s.io/component-base/version.gitMajor=1"
  ldflags+=" -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
  ldflags+=" -X k8s.io/component-base/version.gitTreeState=clean"
  exec env CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -v -trimpath -buildvcs=false -ldflags "$ldflags" -o "$1" "$2"
}

# shellcheck source=hack/cached-build.sh
. "$root/hack/cached-build.sh"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  missing=()
  for program in "${programs[@]}"; do
    [ -x "$KUBEBUILDER_ASSETS/${program%% *}" ] || missing+=("${program%% *}")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "using KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS, nothing is built"
    exit 0
  fi
  say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no ${missing[*]}."
  say "Put it there (Kubernetes $version suits; envtest's own archives lack kube-controller-manager),"
  say "or unset KUBEBUILDER_ASSETS: then all of them are built from source, once."
  exit 1
fi

ensure "$module/go.mod" "$module/go.sum" "$module/build.sh"
