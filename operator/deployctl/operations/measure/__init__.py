"""Measures a running service: its endpoint, one load test or several, smoke checks."""
