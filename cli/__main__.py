"""`python -m cli …` is `backup-cli …`."""

import signal

# While Python imports there is nothing to end in order: Ctrl-C ends the process as if it had not begun.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from cli.main import main  # noqa: E402

main()
