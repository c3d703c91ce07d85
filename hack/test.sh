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

failed=0
# run tests the packages whose names come in, if there are any.
run() {
  local selected
  mapfile -t selected
  [ ${#selected[@]} -eq 0 ] || go test -json -p 2 -timeout 20m "$@" "${flags[@]}" "${selected[@]}" || failed=1
}
run < <(printf '%s\n' "${packages[@]}" | grep -E "$pure")
run ${RACE:+"$RACE"} < <(ordered | grep -vE "$pure")
exit $failed
