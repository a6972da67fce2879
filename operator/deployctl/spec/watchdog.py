"""What may be said of the watchdog of an engine on a host: names, and the numbers they take."""

from typing import Annotated

from pydantic import AfterValidator

from deployctl.spec.number import Number

STALL_S, RESTARTS = 300.0, 5  # where nothing is said
_DAY_S = 86_400.0
NAMES = ("stall", "restarts", "memory", "quiet_hour")


def _checked(value: dict[str, float]) -> dict[str, float]:
    for name, number in value.items():
        if name not in NAMES:
            raise ValueError(f"{name!r} is nothing of it: there are {', '.join(NAMES)}")
        if name == "stall" and number != 0 and not 1 <= number <= _DAY_S:
            raise ValueError(f"stall is 0, for never, or 1 to {_DAY_S:.0f} seconds")
        if name == "restarts" and not (0 <= number <= 100 and number == int(number)):
            raise ValueError("restarts is a whole number an hour, 0 to 100")
        if name == "memory" and not 0 < number <= 1:
            raise ValueError("memory is a share of the machine's, above 0 and at most 1")
        if name == "quiet_hour" and not (0 <= number <= 23 and number == int(number)):
            raise ValueError("quiet_hour is an hour of the day in UTC, 0 to 23")
    if "quiet_hour" in value and "memory" not in value:
        raise ValueError("quiet_hour is for an engine that holds more than its share: give memory")
    return value


Watchdog = Annotated[dict[str, Number], AfterValidator(_checked)]
