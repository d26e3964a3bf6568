#!/bin/sh
# A few bytes behind the end.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
"$real" "$@" && printf 'junk'
