"""Our chart and a peer's for the same service, before the same scanners and `check`."""
