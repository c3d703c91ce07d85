# Functions for the scripts beside it.
# shellcheck shell=bash

# overlay PATCH FOLDER ROOT applies the patch to copies of the files that it names, and writes overlay.json.
overlay() {
  local file comma=
  printf '{"Replace":{' > "$2/overlay.json"
  while read -r file; do
    mkdir -p "$2/$(dirname "$file")"
    cp "$file" "$2/$file"
    printf '%s"%s":"%s"' "$comma" "$PWD/$file" "$2/$file" >> "$2/overlay.json"
    comma=,
  done < <(sed -n 's#^+++ b/##p' "$1")
  printf '}}\n' >> "$2/overlay.json"
  (cd "$2" && git apply "$3/$1")
}

# header NAME PATCH prints a line of the patch's head.
header() { sed -n "s/^# $1: *//p" "$2"; }
