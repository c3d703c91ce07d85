#!/usr/bin/env bash
# Gets prometheus and promtool into the folder that is named, from Debian's package, without installing it: an installed
# package would start a server. Nothing is done where both are there already.
set -euo pipefail
into=$1

if [[ ! -x $into/promtool ]]; then
  for program in apt-get dpkg; do
    if ! command -v "$program" >/dev/null; then
      echo "prometheus: there is no $program; put prometheus and promtool into $into" >&2
      exit 1
    fi
  done
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }
  dpkg --extract prometheus_*.deb .
  mkdir -p "$into"
  mv usr/bin/prometheus "$into"
  mv usr/bin/promtool "$into" # last: it tells that all is there
fi
"$into/promtool" --version | head -n 1
