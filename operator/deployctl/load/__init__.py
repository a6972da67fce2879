"""Starts Locust as a subprocess and turns its raw samples into a LoadResult."""
