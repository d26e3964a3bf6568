#!/bin/sh
# Writes down what the child was given, then is the real one.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
out="${0%/*}"
tr '\0' '\n' < /proc/$$/environ > "$out/environ"
tr '\0' '\n' < /proc/$$/cmdline > "$out/cmdline"
stat -c '%a %s' "$PGPASSFILE" > "$out/passfile"
exec "$real" "$@"
