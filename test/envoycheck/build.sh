#!/usr/bin/env bash
# Builds the program that reads Envoy's files as Envoy's API defines them, from the modules that go.mod beside this script
# pins: a module of its own, so that the API's types are none of the operator's dependencies.
#
# It ends up in bin/envoycheck, which is a link into a cache that all checkouts share; hack/cached-build.sh tells how.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
module=$root/test/envoycheck
name=envoycheck
kind=envoycheck
link=$root/bin/envoycheck
programs=("envoycheck github.com/oauth-operator/oauth-operator/test/envoycheck")

go_build() {
  exec env CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -v -trimpath -buildvcs=false -ldflags "-s -w" -o "$1" "$2"
}

# shellcheck source=hack/cached-build.sh
. "$root/hack/cached-build.sh"

ensure "$module/go.mod" "$module/go.sum" "$module/build.sh" "$module"/*.go
