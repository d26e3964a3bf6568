"""Settings, then a worker of the queues in HOLDFAST_QUEUES, or with the argument `scheduler` the scheduler; as the
commands `worker` and `scheduler` of the command line."""

from __future__ import annotations

import sys

from cli.main import main

if __name__ == "__main__":
    main(sys.argv[1:] or ["worker"])
