"""One module for each command of `backup-cli`; cli/main.py imports the one that is called."""
