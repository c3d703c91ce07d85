# Sourced by the scripts that build the programs which the Makefile needs: hack/controlplane/build.sh and hack/tools/build.sh.
#
# The programs of one build live together in a folder of a cache that all checkouts of one user share,
#
#     ${XDG_CACHE_HOME:-$HOME/.cache}/oauth-operator/<kind>/<stamp>/
#
# and the checkout has a symbolic link to it. The stamp is a hash of everything that the programs depend on, so a folder
# is complete and right, or it does not exist: a second run only compares the link, and a fresh clone on a machine that has
# built before only sets it. A build goes to a temporary folder which is renamed when it is whole.
#
# The caller sets:
#     name      what the progress lines begin with
#     module    the folder of the Go module that pins the programs
#     kind      the name of the folder in the cache
#     link      where the checkout's link goes
#     programs  an array of "<binary> <package>"
# and defines go_build <output file> <package>, which becomes `go build -v` by exec.

say() { printf '%s: %s\n' "$name" "$*" >&2; }

hash_of() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# stamp_of prints the stamp of the folder that belongs to the given files, this Go and this platform.
stamp_of() {
  # go version looks at the go.mod it stands in, as the build will.
  { cd "$module" && go env GOVERSION GOOS GOARCH && cat "$@"; } | hash_of | cut -c1-16
}

# complete says whether the folder holds every program.
complete() {
  local folder=$1 program
  for program in "${programs[@]}"; do
    [ -x "$folder/${program%% *}" ] || return 1
  done
}

# point_link makes the checkout's link name the folder. A link that is right is left alone.
point_link() {
  local folder=$1
  if [ "$(readlink "$link" || true)" != "$folder" ]; then
    mkdir -p "$(dirname "$link")"
    ln -sfn "$folder" "$link"
  fi
}

# counts says how far the build with the log is. It is silent while there is nothing to count: Go then looks at what it has
# already, or links.
counts() {
  local fetched compiled text=
  fetched=$(grep -c '^go: downloading' "$1" || true)
  compiled=$(grep -vc '^go: ' "$1" || true)
  [ "$fetched" -gt 0 ] && text+=", $fetched modules fetched"
  [ "$compiled" -gt 0 ] && text+=", $compiled packages compiled"
  printf '%s' "$text"
}

# watch shows how far the build with the given process id is, from the lines that `go build -v` writes to the log: a
# counter that stays on one line of a terminal, and elsewhere one line now and then.
watch() {
  local pid=$1 title=$2 log=$3 began=$SECONDS shown=-1 every=10 seconds text
  [ -t 2 ] && every=1
  while kill -0 "$pid" 2>/dev/null; do
    seconds=$((SECONDS - began))
    if [ $((seconds / every)) -ne "$shown" ]; then
      shown=$((seconds / every))
      text="$title, $seconds s$(counts "$log")"
      if [ -t 2 ]; then printf '\r\033[K%s: %s' "$name" "$text" >&2; else say "$text"; fi
    fi
    sleep 0.2
  done
  [ -t 2 ] && printf '\r\033[K' >&2
  return 0
}

# build_all builds every program into the folder.
build_all() {
  local folder=$1 program binary package title k=0 began log
  log=$folder/build.log
  for program in "${programs[@]}"; do
    k=$((k + 1)) began=$SECONDS
    binary=${program%% *} package=${program##* }
    title="building $binary ($k of ${#programs[@]})"
    : >"$log"
    (cd "$module" && go_build "$folder/$binary" "$package") >"$log" 2>&1 &
    building=$!
    watch "$building" "$title" "$log"
    if ! wait "$building"; then
      say "$title failed:"
      tail -n 40 "$log" >&2
      return 1
    fi
    say "built $binary ($k of ${#programs[@]}) in $((SECONDS - began)) s"
  done
  rm -f "$log"
}

# ensure is the whole of it: afterwards the link names a folder with every program, built from the given files.
ensure() {
  local cache stamp folder temporary
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/oauth-operator/$kind
  stamp=$(stamp_of "$@")
  folder=$cache/$stamp

  if ! complete "$folder"; then
    mkdir -p "$cache"
    # Two builds of the same programs would only get in each other's way. Where there is no flock, the rename below still
    # keeps them from mixing.
    if command -v flock >/dev/null; then
      exec 9>"$cache/lock"
      flock --nonblock 9 || until say "waiting for another build to end" && flock --wait 10 9; do :; done
    fi
  fi
  if ! complete "$folder"; then
    say "building ${#programs[@]} programs. This happens once: they are kept in $folder"
    temporary=$cache/.building.$stamp.$$
    # shellcheck disable=SC2064 # the folder of this run is meant
    trap "rm -rf '$temporary'" EXIT
    # A build in the background does not hear Ctrl-C by itself.
    trap 'kill "${building:-}" 2>/dev/null; exit 130' INT TERM
    mkdir "$temporary"
    build_all "$temporary"
    rm -rf "$folder"
    mv "$temporary" "$folder"
    # What no checkout has used for a month, and what a killed build has left.
    find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +30 -exec rm -rf {} +
  fi
  touch "$folder"
  point_link "$folder"
}
