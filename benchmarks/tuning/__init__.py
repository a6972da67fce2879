"""Race of searches on surfaces: `python -m benchmarks.tuning`."""
