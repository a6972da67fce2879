"""Fingerprint: what a study was measured on, and whether another machine is the same. Pure."""

from dataclasses import dataclass

from deployctl import __version__
from deployctl.tuning.recommendation import Hardware


@dataclass(frozen=True)
class Fingerprint:
    """Hardware and versions. Studies with equal ones may share measurements."""

    hardware: Hardware
    cores: int
    memory_gib: float  # of the host, rounded
    driver: str | None  # of the GPUs
    target: str
    engine_version: str
    image: str | None = None  # on target docker
    deployctl: str = __version__  # for the record: another one may go on

    def differences(self, now: "Fingerprint") -> list[str]:
        """What is otherwise now, for a person. A host's memory may be told a GiB differently."""
        found = []
        if self.hardware != now.hardware:
            found.append(f"hardware: {self.hardware}, now {now.hardware}")
        for name, told in (
            ("cores", "cores"),
            ("driver", "driver"),
            ("target", "target"),
            ("engine_version", "vLLM"),
            ("image", "image"),
        ):
            was, this = getattr(self, name), getattr(now, name)
            if was != this:
                found.append(f"{told}: {was}, now {this}")
        if abs(self.memory_gib - now.memory_gib) > 1:
            found.append(f"memory: {self.memory_gib:g} GiB, now {now.memory_gib:g} GiB")
        return found
