"""The protocol of writers and pruners as a model, and its runs."""
