"""Benchmarks are no part of the package: they are imported from the checkout's root."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # last: its folders have the names of real packages
