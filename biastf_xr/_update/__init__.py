"""The update of a region: its steps, records, checks, status page and leftovers."""
