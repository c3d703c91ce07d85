#!/usr/bin/env bash
# Checks that what is committed is what the generators, the formatter and the linters want, for the modules that are named.
#
# A change that was there before cannot be told from one that a generator has made, so in a checkout that is not clean the
# checks run and the last step says what it cannot know.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

before=$(git status --porcelain)

make --no-print-directory generate

for module in "$@"; do
  echo "go mod tidy: $module"
  go mod tidy -C "$module" -diff
done

make --no-print-directory lint

after=$(git status --porcelain)
if [ -n "$before" ]; then
  echo "verify: the checkout was not clean before, so that nothing else changed cannot be shown. Commit or stash:" >&2
  printf '%s\n' "$before" >&2
  exit 1
fi
if [ -n "$after" ]; then
  echo "verify: generating has changed files; commit the changes:" >&2
  printf '%s\n' "$after" >&2
  git --no-pager diff --stat >&2
  exit 1
fi
echo "verify: generated files, modules and lint are in order"
