#!/usr/bin/env bash
# Runs the demo once with each operator that lacks a rule of the protocol. Each must end well: a mutant that the demo
# notices proves nothing about the fault tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mutants=${1:?the folder of the mutants} demo=${2:?the demo}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0 passed=0
for patch in hack/mutants/protocol/*.patch hack/mutants/codes/*.patch; do
  name=$(basename "$patch" .patch)
  [[ $patch = hack/mutants/protocol/* ]] || name=code-$name
  if OAUTH_OPERATOR=$PWD/$mutants/$name "$demo" > "$log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=1
  fi
  echo "mutant $name: $(tail -n 1 "$log")"
done
echo "mutants: $passed complete the demo"
exit $failed
