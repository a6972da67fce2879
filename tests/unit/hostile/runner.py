"""Runs a hostile input, in this process or in one of its own, and says what is wrong with it."""

import contextlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from deployctl.cli.app import main
from deployctl_loadtest.foreign import printable

from .inputs import ANSWERS, Input
from .liar import Liar
from .mutations import at_random

CODES = (0, 2, 3, 4)
CPU_S, MEMORY_MIB = 2, 500  # where no engine starts
PATIENCE_S = 60  # for what waits, and uses no processor
SHOWN = 300


class Ran(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str
    left: frozenset = frozenset()  # files that were not there before

    def problem(self, given: Input):
        """What is wrong with it; None if all is well."""
        both = self.out + self.err
        judged = given.words[0] in ("compare", "loadtest") and self.code == 5
        if self.code not in CODES and not judged:
            return f"exit code {self.code}: {self.err[-SHOWN:]!r}"
        if "Traceback" in both:
            return f"a traceback: {both[-SHOWN:]!r}"
        # An answer may say itself what is wrong, and how that is mended.
        told = "error:" in self.err or self.out
        hinted = any(word in both for word in ("hint:", "fix")) or self.out.startswith("{")
        if self.code and not (told and hinted):
            return f"no hint: {self.err[-SHOWN:]!r}"
        if printable(both) != both:
            return f"not printable: {both[-SHOWN:]!r}"
        # What was measured, or begun and can be gone on with, and a lock that is taken by name.
        kept = ("here/results/", "here/studies/")
        left = [n for n in self.left if not n.startswith(kept) and not n.endswith("lock")]
        if self.code and left:
            return f"left behind: {sorted(left)[:5]}"
        return None


class Late(BaseException):
    """It took more time than it may."""


class Stage:
    """Where inputs are run: a folder, a server on loopback, and nothing else that answers."""

    def __init__(self, folder, record):
        self.folder, self._record, self._given = folder, record, Input([], {}, {}, {})
        (folder / "bin").mkdir()
        self.variables = {
            "HOME": str(folder / "home"),
            "PATH": str(folder / "bin"),
            "HF_HUB_OFFLINE": "1",
            "DOCKER_HOST": "tcp://127.0.0.1:1",
            "KUBECONFIG": str(folder / "none"),
            "DEPLOYCTL_STATE_DIR": str(folder / "state"),
            "DEPLOYCTL_CACHE_DIR": str(folder / "cache"),
            "COLUMNS": "100",
        }
        self._liar = Liar(self._answer)

    def __enter__(self):
        self._liar.__enter__()
        return self

    def __exit__(self, *error):
        self._liar.__exit__(*error)

    def answer(self, path):
        """What the server sends for a path."""
        return self._given.answers.get(path, ANSWERS.get(path, ANSWERS["/tokenize"]))

    def _answer(self, send, method, path):
        send(self.answer(path))

    def lay(self, number, given):
        """A folder with the input's files; its words, with the server's address."""
        self._given = given
        here = self.folder / "inputs" / str(number) / "here"
        here.mkdir(parents=True)
        for name, data in given.files.items():
            if name == "RECORD":
                data, name = self._changed(data), "../state/process/tiny/releases/000001.json"
            file = here / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        state = (
            {"DEPLOYCTL_STATE_DIR": str(here.parent / "state")} if "RECORD" in given.files else {}
        )
        words = [word.replace("URL", self._liar.url) for word in given.words]
        return here, words, {**self.variables, **state, **given.variables}

    def _changed(self, seed):
        return at_random(random.Random(seed), self._record, most=4)

    def run(self, number, given):
        """Runs it in this process."""
        here, words, variables = self.lay(number, given)
        before = files(here)
        streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(3)]
        known = os.environ.copy(), sys.argv, sys.stdin, Path.cwd()
        os.environ.clear()
        os.environ.update({key: text for key, text in variables.items() if "\0" not in text})
        sys.argv, sys.stdin = ["deployctl", *words], streams[2]
        os.chdir(here)
        code = 1
        try:
            with (
                contextlib.redirect_stdout(streams[0]),
                contextlib.redirect_stderr(streams[1]),
                within(CPU_S, PATIENCE_S),
            ):
                main()
        except SystemExit as end:
            code = end.code
        except Late as late:
            streams[1].write(str(late))
        finally:
            os.environ.clear()
            os.environ.update(known[0])
            sys.argv, sys.stdin = known[1:3]
            os.chdir(known[3])
        out, err = (stream.buffer.getvalue().decode() for stream in map(flushed, streams[:2]))
        return Ran(code, out, err, files(here) - before)

    def start(self, number, given):
        """Runs it as a process of its own, with the limits set in it."""
        here, words, variables = self.lay(number, given)
        before = files(here)

        def limit():
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MIB << 20, MEMORY_MIB << 20))

        path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "deployctl",
                *(w.encode("utf-8", "surrogateescape") for w in words),
            ],
            cwd=here,
            env={**variables, **path, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
            preexec_fn=limit,
        )
        out, err = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
        return Ran(done.returncode, out, err, files(here) - before)


def flushed(stream):
    """A stream that has written all it was given."""
    stream.flush()
    return stream


def files(folder):
    """Every file below the folder above this one, by name."""
    root = folder.parent
    return frozenset(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() or path.is_symlink()
    )


@contextlib.contextmanager
def within(cpu_s, real_s):
    """Raises Late after so much of the processor's time, or of any."""

    def late(number, _):
        raise Late(f"more than {cpu_s} s" if number == signal.SIGPROF else f"hangs for {real_s} s")

    former = [signal.signal(number, late) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, real_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), former, strict=True):
            signal.signal(number, handler)


def a_record(release):
    """A record as deployctl writes it."""
    return json.dumps({"version": 1, **release.model_dump(mode="json")}).encode()
