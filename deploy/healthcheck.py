"""Ends well when the web application of this container answers that it lives; asked by the container's runtime."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

SECONDS = 4


def main() -> int:
    """The exit code: 0 when it lives. Only the port counts: inside of the container it is asked on the loopback."""
    port = os.environ.get("HOLDFAST_BIND", "127.0.0.1:8000").rpartition(":")[2]
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=SECONDS).close()
    except (urllib.error.URLError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
