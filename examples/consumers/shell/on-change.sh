#!/bin/sh
# Runs a command each time that a mounted Secret has changed: on-change.sh FOLDER COMMAND [ARGUMENT...].
# Start it before the program that reads the files, so that no change is overlooked between the two.
folder=$1
shift

seen=$(readlink "$folder/..data")
while sleep "${INTERVAL:-5}"; do
  now=$(readlink "$folder/..data")
  if [ -n "$now" ] && [ "$now" != "$seen" ]; then
    "$@" && seen=$now # if it fails, it is tried again
  fi
done
