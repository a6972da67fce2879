"""Scrapes and parses /metrics -> a typed snapshot, and what happened between two."""

from deployctl.metrics.scrape import scrape
from deployctl.metrics.snapshot import Delta, Histogram, Snapshot, between, parse, together

__all__ = ["Delta", "Histogram", "Snapshot", "between", "parse", "scrape", "together"]
