"""What a key has had in the last minute, held against what it may have."""

import math
import time
from collections import deque
from collections.abc import Callable

from deployctl_door.keys import NO_LIMITS, Key

WINDOW_S = 60.0


class _Window:
    """Amounts of the last minute, oldest first."""

    def __init__(self) -> None:
        self.sum = 0
        self._entries: deque[tuple[float, int]] = deque()

    def add(self, now: float, amount: int) -> None:
        self.sum += amount
        self._entries.append((now, amount))

    def forget(self, now: float) -> None:
        while self._entries and self._entries[0][0] <= now - WINDOW_S:
            self.sum -= self._entries.popleft()[1]

    def free_in(self, now: float, most: int) -> float:
        """Seconds until less than `most` is left of what was added."""
        left = self.sum
        for at, amount in self._entries:
            left -= amount
            if left < most:
                return max(0.0, at + WINDOW_S - now)
        return WINDOW_S


class Usage:
    """Requests and tokens of every key, in this engine process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way: dict[str, int] = {}
        self._requests: dict[str, _Window] = {}
        self._tokens: dict[str, _Window] = {}

    def begin(self, key: Key) -> tuple[str, int] | None:
        """Counts a request in; or says which limit it meets, and in how many seconds to retry."""
        limits, under_way = key.limits, self._under_way.get(key.name, 0)
        if limits is NO_LIMITS or limits == NO_LIMITS:
            self._under_way[key.name] = under_way + 1
            return None
        now = self._clock()
        requests = self._requests.setdefault(key.name, _Window())
        tokens = self._tokens.setdefault(key.name, _Window())
        requests.forget(now)
        tokens.forget(now)
        if limits.concurrent is not None and under_way >= limits.concurrent:
            return f"{limits.concurrent} requests at once", 1
        for window, most, what in (
            (requests, limits.requests_per_minute, "requests"),
            (tokens, limits.tokens_per_minute, "tokens"),
        ):
            if most is not None and window.sum >= most:
                wait = WINDOW_S if most == 0 else window.free_in(now, most)
                return f"{most} {what} a minute", max(1, math.ceil(wait))
        requests.add(now, 1)
        self._under_way[key.name] = under_way + 1
        return None

    def end(self, key: Key, tokens: int) -> None:
        """Counts a request out, with the tokens that it took."""
        self._under_way[key.name] -= 1
        if tokens and key.name in self._tokens:
            self._tokens[key.name].add(self._clock(), tokens)
