"""Begins a study, goes on with one, and ends it with a recommendation."""
