"""Tuning: finds the engine settings that serve best under an SLO, with evidence.

A `Strategy` (pure: `search`) says what to do next; a `Bench` (a real engine, or a surface that
replays one) does it and says what came of it; the runner stands between them and writes every
fact into a `Study`. The same facts and the same seed always lead to the same next step: that is
how a killed study goes on. `report` is a study for a person; nothing here prints.
"""
