"""`deployctl check`."""
