#!/bin/sh
# Compresses although it is asked not to.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
exec "$real" "$@" --compress=6
