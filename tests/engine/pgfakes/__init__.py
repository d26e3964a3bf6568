"""Stand-ins for the client programs of PostgreSQL, each with one fault, and archives made by hand."""
