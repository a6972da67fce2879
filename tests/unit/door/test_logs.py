"""What uvicorn writes of requests, once vLLM has imported the door."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import deployctl_door

# In the order of vLLM: the middleware is there before its server sets the logs up.
SCRIPT = """
import logging
import deployctl_door.vllm
import uvicorn
from uvicorn.protocols.utils import get_path_with_query_string as path

uvicorn.Config(None)
query = {"path": "/v1/models", "query_string": b"limit=1&api_key=sk-of-a-client"}
logging.getLogger("uvicorn.access").info(
    '%s - "%s %s HTTP/%s" %d', "10.0.0.1:5", "GET", path(query), "1.1", 401
)
logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" 403', "10.0.0.1:6", path(query))
logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
"""


@pytest.fixture
def lines(configure, tmp_path):
    configure(keyless=True)
    door = Path(deployctl_door.__file__).parents[1]
    given = {"DEPLOYCTL_DOOR": str(tmp_path / "door.json"), "PYTHONPATH": str(door)}
    told = subprocess.run(
        (sys.executable, "-c", SCRIPT),
        env={**os.environ, **given, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.splitlines() + told.stderr.splitlines()


def test_an_address_ends_where_its_query_begins(lines):
    assert [line.partition(":")[2].strip() for line in lines] == [
        '10.0.0.1:5 - "GET /v1/models HTTP/1.1" 401 Unauthorized',
        '10.0.0.1:6 - "WebSocket /v1/models" 403',
        "Started server process [7]",
    ]
