"""Scrapes and parses /metrics -> a typed snapshot, and what happened between two."""

from deployctl.metrics.histogram import Histogram
from deployctl.metrics.scrape import scrape
from deployctl.metrics.snapshot import Delta, Snapshot, between, parse

__all__ = ["Delta", "Histogram", "Snapshot", "between", "parse", "scrape"]
