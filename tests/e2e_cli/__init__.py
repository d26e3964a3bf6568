"""The command line from end to end: real processes, real folders, real PostgreSQL servers, real faults."""
