"""`python -m cli …` is `backup-cli …`."""

from cli.main import main

main()
