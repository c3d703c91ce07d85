#!/usr/bin/env bash
# Gets nginx into the folder that is named, from Debian's package, without installing it: an installed package would start a
# server. Nothing is done where it is there already. It needs no root.
set -euo pipefail
into=$1

# fail says what is missing, and what to do.
fail() {
  echo "nginx: $1; install nginx in another way, and the tests find it in the PATH, or put it into $into" >&2
  exit 1
}

if [[ ! -x $into/nginx ]]; then
  for program in apt-get dpkg; do
    command -v "$program" >/dev/null || fail "there is no $program"
  done
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  # Which of its packages has the program, differs by release.
  for package in nginx nginx-light nginx-core; do
    apt-get download -q "$package" || { apt-get update -q && apt-get download -q "$package"; } || continue
    dpkg --extract "$package"_*.deb .
    [[ ! -x usr/sbin/nginx ]] || break
  done
  [[ -x usr/sbin/nginx ]] || fail "none of the packages that can be had brings it"
  usr/sbin/nginx -v 2>/dev/null || fail "it lacks a library: $(ldd usr/sbin/nginx | grep 'not found' | xargs)"
  mkdir -p "$into"
  mv usr/sbin/nginx "$into"
fi
"$into/nginx" -v 2>&1
