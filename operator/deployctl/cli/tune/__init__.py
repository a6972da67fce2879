"""`deployctl tune`."""
