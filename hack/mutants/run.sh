#!/usr/bin/env bash
# Breaks the code, one patch at a time, and wants a named test to notice. A patch begins with three lines:
#
#   # what:  the mistake, in a few words
#   # test:  the package, and the arguments that select the test
#   # fails: what the test prints when it notices
#
# The code itself is not touched: Go builds with an overlay. Each test runs once unbroken as well, and must pass.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 caught=0

source hack/mutants/overlay.sh

for patch in hack/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  folder=$work/$name
  mkdir -p "$folder"
  eval "arguments=($(header test "$patch"))"
  fails=$(header fails "$patch")
  echo "mutant $name: $(header what "$patch")"
  if ! overlay "$patch" "$folder" "$PWD"; then
    echo "  the patch does not apply any more" && failed=1 && continue
  fi
  if ! go test "${arguments[@]}" > "$folder/whole.log" 2>&1 || grep -qE 'no tests to run|Ran 0 of|^ok .*\(cached\) \[no tests' "$folder/whole.log"; then
    echo "  the unbroken code does not pass its test, or there is no such test:" && tail -n 20 "$folder/whole.log" && failed=1 && continue
  fi
  if go test -overlay "$folder/overlay.json" "${arguments[@]}" > "$folder/broken.log" 2>&1; then
    echo "  NOT NOTICED" && failed=1
  elif grep -qF -- "$fails" "$folder/broken.log"; then
    echo "  noticed by: $fails" && caught=$((caught + 1))
  else
    echo "  fails, but not as expected ($fails):" && tail -n 30 "$folder/broken.log" && failed=1
  fi
done

echo "mutants: $caught noticed"
exit $failed
