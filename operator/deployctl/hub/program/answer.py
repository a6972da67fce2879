"""How the program is told its job, and what it answers: a JSON object a line."""

import json
import logging
import os
import re
import sys
import threading
from typing import Any

from deployctl.hub.program.download import Say, run
from deployctl.hub.program.place import DownloadError

# Read by huggingface_hub when it is imported. Whether anybody is asked is said by the job.
_ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "0",
}


class _Warnings(logging.Handler):
    """What huggingface_hub warns of, once each, without the signatures of addresses."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say, self._said = say, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Says one."""
        text = re.sub(r"[?]\S*", "", record.getMessage()).split("\n")[0][:200]
        if text not in self._said:
            self._said.add(text)
            self._say(event="note", text=text)


def main(job: dict[str, Any]) -> None:
    """Does a job, and ends at once: threads that still fetch are not waited for."""
    os.environ.update(_ENVIRONMENT)
    lock = threading.Lock()

    def say(**line: Any) -> None:
        with lock:
            try:
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
            except OSError:  # whoever asked is gone
                os._exit(1)

    try:
        import huggingface_hub  # noqa: F401  its logger is made when it is imported

        logger = logging.getLogger("huggingface_hub")
        logger.handlers, logger.propagate = [_Warnings(say)], False
        run(job, say)
        code = 0
    except DownloadError as failed:
        say(**failed.line)
        code = 1
    except ImportError as error:
        say(event="error", kind="python", text=str(error))
        code = 1
    os._exit(code)
