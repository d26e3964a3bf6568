#!/bin/sh
# All of the output, and it ends; but something that it started keeps the output open.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
"$real" "$@"
sleep 600 &
echo "$!" >"${0%/*}/child"
