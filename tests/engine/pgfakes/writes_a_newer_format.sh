#!/bin/sh
# The output of the real one with a version of the archive that nobody knows.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
"$real" "$@" > output || exit
head -c 6 output
printf '\143'
tail -c +8 output
