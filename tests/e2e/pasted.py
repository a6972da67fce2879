"""What `status --connect` shows, pasted as it is."""

import os
import shutil
import subprocess
import sys

import pytest

from process_shell import PATIENCE_S

NEEDED = ("bash", "curl", "sed")
needed = pytest.mark.skipif(
    any(shutil.which(each) is None for each in NEEDED), reason=f"needs {', '.join(NEEDED)}"
)


def paste(snippet, before=""):
    """What a shell or Python answers to it."""
    words = {"sh": ["bash", "-euc", f"{before}\n{snippet['text']}"]}
    words["python"] = [sys.executable, "-c", snippet["text"]]
    done = subprocess.run(
        words[snippet["kind"]], capture_output=True, text=True, timeout=PATIENCE_S,
        env={k: v for k, v in os.environ.items() if not k.startswith("OPENAI")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
