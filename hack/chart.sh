#!/usr/bin/env bash
# Copies into the chart what it has in common with config/: definitions, policies and roles. The chart's templates put the
# namespace of the release in the place of the one that is written there.
#
# They are copies, since neither Helm nor kustomize reads files outside of its own folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=charts/oauth-operator/files
rm -rf "$files/crds" "$files/policies" "$files/rbac"
mkdir -p "$files/crds" "$files/policies" "$files/rbac"
cp config/crd/bases/*.yaml "$files/crds/"
cp config/policies/*.yaml "$files/policies/"
cp config/rbac/*.yaml "$files/rbac/"
cp config/consent/rbac.yaml "$files/rbac/consent.yaml"
rm "$files"/*/kustomization.yaml
