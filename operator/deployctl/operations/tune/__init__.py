"""Tuning a service: `run.begin` and `run.resume` give a `TuneOutcome`, `dry_run` starts nothing."""
