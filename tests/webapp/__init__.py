"""Settings, schema, database, runs, and the commands."""
