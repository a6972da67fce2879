"""`deployctl metrics`."""
