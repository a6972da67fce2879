"""`deployctl up`."""
