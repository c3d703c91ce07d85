#!/usr/bin/env bash
# Checks that what is committed is what the generators, the formatter and the linters want, for the modules that are named.
#
# A change that was there before cannot be told from one that a generator has made, so in a checkout that is not clean all
# checks run and it fails at the end. All complaints come together, at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

complaints=()
before=$(git status --porcelain)

make --no-print-directory generate

for module in "$@"; do
  echo "go mod tidy -C $module -diff"
  go mod tidy -C "$module" -diff || complaints+=("a module is not tidy; run: go mod tidy -C $module")
done

make --no-print-directory lint || complaints+=("lint has findings, see above")

after=$(git status --porcelain)
if [ -n "$before" ]; then
  complaints+=("the checkout was not clean before, so that nothing else changed cannot be shown; commit or stash:" "$before")
elif [ -n "$after" ]; then
  git --no-pager diff --stat >&2
  complaints+=("generating has changed files; commit the changes:" "$after")
fi

if [ ${#complaints[@]} -gt 0 ]; then
  printf 'verify: %s\n' "${complaints[@]}" >&2
  exit 1
fi
echo "verify: generated files, modules and lint are in order"
