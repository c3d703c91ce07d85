#!/usr/bin/env bash
# Runs the tests of the packages that are named, and writes their events. Of the flags of go test, COUNT and RUN are -count and
# -run, and RACE is the race detector's, or empty.
#
# Pure code goes without the race detector: it starts no goroutine and shares nothing, so that there is nothing to detect, and
# the many combinations that its tests go through would take minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pure='/internal/lifecycle$'
# These take minutes each. They begin first, in this order, so that the others run beside them and nothing runs alone at the end.
slow=(/internal/controller /test/e2e /internal/oauth /test/stories)
flags=(${COUNT:+"-count=$COUNT"} ${RUN:+-run "$RUN"})
mapfile -t packages < <(go list -e "$@")
# ordered prints those that are slow, then the others.
ordered() {
  local ending
  for ending in "${slow[@]}"; do printf '%s\n' "${packages[@]}" | grep -E "$ending\$" || true; done
  printf '%s\n' "${packages[@]}" | grep -vE "($(IFS='|'; echo "${slow[*]}"))\$"
}

# run tests the packages whose names come in, if there are any. More at a time than there are cores: most of them wait more than
# they work.
run() {
  local selected
  mapfile -t selected
  [ ${#selected[@]} -eq 0 ] || go test -json -p 3 -timeout 20m "$@" "${flags[@]}" "${selected[@]}"
}

# The pure ones beside the others. Their events wait until the others' have gone: two programs must not write within one line.
failed=0
events=$(mktemp)
trap 'rm -f "$events"' EXIT
run < <(printf '%s\n' "${packages[@]}" | grep -E "$pure") >"$events" &
beside=$!
run ${RACE:+"$RACE"} < <(ordered | grep -vE "$pure") || failed=1
wait "$beside" || failed=1
cat "$events"
exit $failed
