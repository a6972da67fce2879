"""Brings services up, verifies, compares, rolls back and takes down."""
