"""The most that one request may ask for: names, and the numbers they take."""

from typing import Annotated

from pydantic import AfterValidator

from deployctl.spec.number import Number

# What deploy/door/deployctl_door/configuration.py calls BodyLimits.
REQUEST_LIMITS = ("bytes", "seconds", "depth", "n", "tokens", "logprobs", "prompts")


def _checked(value: dict[str, float]) -> dict[str, float]:
    for name, most in value.items():
        if name not in REQUEST_LIMITS:
            raise ValueError(f"{name!r} is no limit: there are {', '.join(REQUEST_LIMITS)}")
        if not 0 < most < 1e12 or (name != "seconds" and most != int(most)):
            whole = "" if name == "seconds" else "whole "
            raise ValueError(f"{name} is a {whole}number above 0")
    return value


RequestLimits = Annotated[dict[str, Number], AfterValidator(_checked)]
