#!/usr/bin/env bash
# Builds the operator once for each patch in hack/mutants/protocol and hack/mutants/codes, and once plain (exchange, then write),
# into the folder that is given. Each patch leaves one rule of the protocol out; it begins with two lines:
#
#   # what:      the rule that is missing, in a few words
#   # invariant: the invariants of which the fault tests must find one broken
#
# The code itself is not touched: Go builds with an overlay. It prints the flags that the fault tests want.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
into=$(mkdir -p "${1:?the folder to build into}" && cd "$1" && pwd)
source hack/mutants/overlay.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -trimpath -tags plain -o "$into/plain" ./cmd/oauth-operator
echo "--naive=$into/plain"
for patch in hack/mutants/protocol/*.patch hack/mutants/codes/*.patch; do
  name=$(basename "$patch" .patch) flag=mutant
  if [[ $patch = hack/mutants/codes/* ]]; then
    name=code-$name flag=code-mutant
  fi
  mkdir -p "$work/$name"
  overlay "$patch" "$work/$name" "$PWD"
  CGO_ENABLED=0 go build -trimpath -overlay "$work/$name/overlay.json" -o "$into/$name" ./cmd/oauth-operator
  echo "--$flag=$name=$into/$name:$(header invariant "$patch")"
done
