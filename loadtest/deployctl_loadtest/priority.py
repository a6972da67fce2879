"""Asks the kernel to run the load process as soon as it wakes.

A client beside a busy engine is otherwise left waiting for tens to hundreds of milliseconds
with its data at hand, and would measure that. It needs little CPU, so little is taken.
"""

import gc
import os


def raise_priority() -> str:
    """Takes what is allowed: `realtime`, else `nice`, else `normal`. Says which it was."""
    try:
        # Round-robin at its lowest level; the kernel keeps 5% for everybody else.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except (AttributeError, OSError):
        pass  # not Linux, or no CAP_SYS_NICE
    else:
        return "realtime"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except OSError:
        return "normal"
    return "nice"


def calm_the_collector() -> None:
    """Lets Python look for cycles seldom: with thousands of streams, a full look takes 100 ms.

    What is there now stays for good, and what a request makes is freed without it. What remains
    is looked at in small parts: each takes a millisecond.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 500, 1_000)
