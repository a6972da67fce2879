"""Fetches what a checkpoint says of itself, from a folder or the Hub; never weights."""
