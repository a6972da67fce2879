"""`deployctl loadtest`."""
