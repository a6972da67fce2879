"""Parts for the tests of `top`: rows by hand, and readings of pages as engine and door write."""

import re
from pathlib import Path

from deployctl.metrics import Scrape, doors, parse
from deployctl.metrics.doors import KeyUse
from deployctl.metrics.figures import Figures, Spread
from deployctl.operations.top.row import Change, Row

PAGE = (Path(__file__).parent / "data" / "metrics" / "vllm-0.32.0.txt").read_text()


def times(page, factor):
    """A recorded page whose every counter and bucket is so many times as high."""

    def scaled(line):
        name, _, value = line.rpartition(" ")
        counts = re.match(r"vllm:\w+_(total|bucket|count|sum)\{", name)
        return f"{name} {float(value) * factor}" if counts else line

    return "\n".join(map(scaled, page.splitlines())) + "\n"


def reading(page=PAGE, at=0.0, door=""):
    return Scrape(parse(page, at), doors.parse(page + door))


def figures(**given):
    return Figures(**{**dict.fromkeys(Figures._fields), "basis": "interval", "seconds": 2.0,
                      "restarted": False, **given})  # fmt: skip


def busy(**given):
    """A row of a service under load."""
    values = {
        "running": 3,
        "waiting": 2,
        "kv_cache_usage": 0.5,
        "requests_per_s": 1.5,
        "prompt_tokens_per_s": 100.0,
        "generation_tokens_per_s": 12345.0,
        "preemptions": 0,
        "ttft_s": Spread(3, 0.1, 0.1, 0.2, 0.25, 0.3, 0.001),
        "itl_s": Spread(30, 0.001, 0.005, 0.008, 0.009, 0.01, 0.01),
    }
    shown = {
        "service": "chat",
        "target": "process",
        "url": "http://127.0.0.1:8000",
        "health": "serving",
        "engines": 1,
        "change": Change(12, "deployed", "2026-11-27T11:46:00+00:00", "up"),
        "keys": (KeyUse("ci", 4, 0, 40, 80, {"limit": 6}),),
        "figures": figures(**values),
    }
    return Row(**{**shown, **given})


def silent(service="embed", **given):
    return Row(service, "docker", health="silent", detail="no answer within 5.0 s", **given)
