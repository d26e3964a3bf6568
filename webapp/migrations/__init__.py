"""The database's revisions. `HEAD` is the newest; a test keeps it equal to the files in versions/."""

HEAD = "0013"
