"""How faithfully do load clients measure? Ours and others against a server that knows the truth."""
