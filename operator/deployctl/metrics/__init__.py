"""Scrapes and parses /metrics -> a typed snapshot."""
