"""Surfaces: what every configuration of a service comes to at every load, replayed by a bench.

`file` reads them, `truth` says what they hold without noise, `bench` draws noise around it.
"""
