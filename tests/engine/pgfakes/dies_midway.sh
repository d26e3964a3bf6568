#!/bin/sh
# Killed while it writes the data.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
"$real" "$@" | head -c 300000
kill -9 $$
