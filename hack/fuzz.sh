#!/usr/bin/env bash
# Fuzzes every target of the packages that are named, or of all, one after the other, each for the time given first.
#
# What a target fails on is left in testdata/fuzz/<target> of its package, where every later test run tries it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=$1
shift
# Listing compiles a package's tests, so only packages are asked that have targets.
if [ $# -eq 0 ] || [ "$*" = ./... ]; then
  mapfile -t packages < <(git ls-files --cached --others --exclude-standard '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n 1 dirname | sort -u | sed 's|^|./|')
else
  packages=("$@")
fi

failed=()
for package in "${packages[@]}"; do
  targets=$(go test -list '^Fuzz' "$package" | grep '^Fuzz') || { echo "fuzz: $package has no targets" >&2; exit 1; }
  for target in $targets; do
    echo "fuzz: $package $target, $time"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || failed+=("$package $target")
  done
done

if [ ${#failed[@]} -gt 0 ]; then
  printf 'fuzz: failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
