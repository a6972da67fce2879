"""`deployctl diff`."""
