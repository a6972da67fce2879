"""Keeps raw samples on disk as they come, so that a killed run loses one second at most."""

import json
from contextlib import suppress
from pathlib import Path

from deployctl_loadtest.sample import Sample, WorkerReport


class SampleWriter:
    """Writes `samples-WORKER.jsonl` and, at the end, `worker-WORKER.json` into a folder."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._worker = worker
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"samples-{worker}.jsonl").open("w", encoding="utf-8")
        self.written = 0

    def write(self, sample: Sample) -> None:
        """Adds a sample. It is on disk after the next `flush`."""
        self._file.write(json.dumps(sample.to_dict(), separators=(",", ":")) + "\n")
        self.written += 1

    def write_lines(self, lines: list[str]) -> None:
        """Adds samples that are written out already."""
        self._file.writelines(line + "\n" for line in lines)
        self.written += len(lines)

    def flush(self) -> None:
        """Hands over what was written so far."""
        self._file.flush()

    def close(self, report: WorkerReport) -> None:
        """Hands over everything, and says how much that was."""
        self._file.close()
        path = self._folder / f"worker-{self._worker}.json"
        path.write_text(json.dumps(report.to_dict()), encoding="utf-8")


def read(folder: Path) -> tuple[list[Sample], list[WorkerReport], int]:
    """Reads what workers wrote: samples in order of start, reports, and how many were lost.

    A last line cut off by a kill counts as lost; so does what a report promises and
    the file lacks.
    """
    samples: list[Sample] = []
    files = sorted(folder.glob("samples-*.jsonl"))
    # Before the samples: as it is read, a report of a long run takes more room than it keeps.
    reports = {path: report for path in files if (report := _report(path)) is not None}
    lost = 0
    for path in files:
        whole = broken = 0
        with path.open("rb") as file:
            for line in file:
                try:
                    samples.append(Sample.from_dict(json.loads(line)))
                    whole += 1
                except (ValueError, TypeError, KeyError, OverflowError):
                    broken += 1
        if path in reports:
            broken = max(broken, reports[path].samples - whole)
        lost += broken
    samples.sort(key=lambda sample: sample.started_at_s)
    for index, sample in enumerate(samples):
        sample.index = index
    return samples, list(reports.values()), lost


def _report(samples: Path) -> WorkerReport | None:
    """What the process that wrote a file of samples says of itself, if it came to that."""
    said = samples.with_name(samples.name.replace("samples-", "worker-")).with_suffix(".json")
    # A full disk leaves an empty report, or a part of one.
    with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        return WorkerReport.from_dict(json.loads(said.read_text(encoding="utf-8")))
    return None
