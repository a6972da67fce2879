"""Scrapes and parses /metrics -> a typed snapshot, and what happened between two."""

from deployctl.metrics.scrape import Scrape, read, scrape
from deployctl.metrics.snapshot import Delta, Histogram, Snapshot, between, parse, together

__all__ = [
    "Delta",
    "Histogram",
    "Scrape",
    "Snapshot",
    "between",
    "parse",
    "read",
    "scrape",
    "together",
]
