#!/bin/sh
# All of the output, then the status of a failure.
real="${0%/*}/real/${0##*/}"
[ "$1" = "--version" ] && exec "$real" --version
"$real" "$@"
echo "pg_dump: warning: something odd" >&2
echo "pg_dump: error: query failed: ERROR:  could not read block 7" >&2
echo "pg_dump: detail: Query was: COPY …" >&2
exit 1
