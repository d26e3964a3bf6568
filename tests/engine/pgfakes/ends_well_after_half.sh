#!/bin/sh
# Half of the output, and the status of success.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
"$real" "$@" > output
size=$(wc -c < output)
head -c $((size / 2)) output
exit 0
