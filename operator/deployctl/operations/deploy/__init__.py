"""Brings services up, verifies, compares, rolls back and takes down.

`deployment.up` takes a `Deployment`, answers a `Deployed` and tells events on the way; nothing
here prints. `request` alone is what the command line makes its options from, and quick to import.
"""
