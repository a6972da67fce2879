"""Starts Locust as a subprocess and reads its results."""
