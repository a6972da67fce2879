"""deployctl in the background: what it has said so far, and its end, by itself or by a signal."""

import signal
import subprocess
import sys
import threading
import time

from tests.e2e.docker_parts import until


class Begun:
    """A command under way; use it as a context manager, so that nothing of it stays."""

    def __init__(self, namespace, *words):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deployctl", *map(str, words)],
            env=namespace.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(self._process.stderr))
        self._reader.start()
        self._since = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self._process.stderr.close()

    @property
    def said(self):
        """All of it so far."""
        return "".join(self._lines)

    @property
    def pid(self):
        return self._process.pid

    def until(self, text, seconds=120):
        """Waits until it says that."""
        until(
            lambda: text in self.said or self._process.poll() is not None,
            seconds=seconds,
            what=f"it says {text!r}",
        )
        assert text in self.said, self.said

    def lives_for(self, seconds):
        """Lets it be until so long after its beginning, or its end."""
        left = self._since + seconds - time.monotonic()
        try:
            self._process.wait(max(0.0, left))
        except subprocess.TimeoutExpired:
            return

    def kill(self, number=signal.SIGKILL):
        """Sends a signal; where it is -9, it is gone afterwards."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()
            self._reader.join()

    def ends(self, code=0, seconds=300):
        """What it has said, once it ended with that exit code."""
        self._process.wait(seconds)
        self._reader.join()
        assert self._process.returncode == code, self.said
        assert "Traceback" not in self.said
        return self.said
