"""`deployctl plan`."""
