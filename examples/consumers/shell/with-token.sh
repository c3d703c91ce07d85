#!/bin/sh
# Runs a program that takes its token from the environment alone, and starts it anew when the token has changed:
# with-token.sh FOLDER PROGRAM [ARGUMENT...]. The folder is a mounted Secret with the key env.
folder=$1 child=
shift

stop() {
  kill -TERM "$child" 2>/dev/null
  wait "$child"
}
trap 'stop; exit 143' TERM INT

while :; do
  version=$(readlink "$folder/..data") && variables=$(cat "$folder/$version/env") || { sleep 1; continue; }
  set -a
  eval "$variables"
  set +a
  "$@" &
  child=$!
  while [ "$(readlink "$folder/..data")" = "$version" ]; do
    if ! kill -0 "$child" 2>/dev/null; then
      wait "$child" # it has ended by itself: so does this
      exit
    fi
    sleep "${INTERVAL:-5}"
  done
  stop
done
