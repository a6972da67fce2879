"""Parts for tests of verified rollouts: a planted recommendation, and somebody who asks the
service all along."""

import json
import threading
import time
import urllib.request

from deployctl.operations.prepare import processor
from deployctl.tuning.recommendation import ConfigurationResult, Hardware, Measured, Recommendation
from process_shell import until


def planted(file, model, *, objective, value, slo, load):
    """One sequence at a time: what a study with a mistake in it might have said."""
    settings = {"max_num_seqs": 1}
    Recommendation(
        verdict="winner",
        why="planted for a test",
        settings=settings,
        measured=Measured(
            objective=objective,
            slo=slo,
            model=str(model),
            engine_version="0.32.0",
            target="process",
            hardware=Hardware(gpu="cpu", processor=processor()),
            workload="fixed",
            seed=1,
            study="none",
            date="2026-11-24T00:00:00+00:00",
        ),
        winner=ConfigurationResult(settings=settings, objective=value, load=load),
    ).write(file)
    return file


class Prober:
    """Asks the service's port all along, as its users do."""

    def __init__(self, port, model, *, every_s=0.05):
        self._model, self._every_s = model, every_s
        self._url = f"http://127.0.0.1:{port}/v1/completions"
        self._end = threading.Event()
        self.times, self.failures = [], []  # of answers, when they came; of what was none
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        body = json.dumps({"model": self._model, "prompt": "Hello", "max_tokens": 1}).encode()
        request = urllib.request.Request(
            self._url, body, headers={"Content-Type": "application/json"}
        )
        while not self._end.wait(self._every_s):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert json.load(answer)["choices"]
                self.times.append(time.monotonic())
            except OSError as error:
                self.failures.append(repr(error))

    def __enter__(self):
        self._thread.start()
        until(lambda: self.times)
        return self

    def __exit__(self, failed, *_):
        self._end.set()
        self._thread.join()
        # More than the first: what is asserted of failures is said of these.
        assert failed or len(self.times) + len(self.failures) > 1

    @property
    def longest_s(self):
        """Between two answers."""
        return max(b - a for a, b in zip(self.times, self.times[1:], strict=False))
