"""`deployctl doctor`: is this machine, or a cluster, fit to serve, and if not, what to do."""
