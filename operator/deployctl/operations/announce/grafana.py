"""Grafana's HTTP API, as far as annotations go."""

from pathlib import Path

import httpx

from deployctl import given, web
from deployctl.errors import InputError, TargetError
from deployctl.operations.announce.happening import Happening
from deployctl_loadtest.foreign import MAX_REFUSAL, message

WITHIN_S = 5.0  # for one annotation, from the connection to the answer's end


def annotate(
    url: str,
    token_file: Path | None,
    happening: Happening,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Makes an annotation of the organization, which every dashboard may show by its tags.

    `token_file` holds the token of a service account that may write annotations (annotations:create
    with the scope annotations:type:organization).

    Raises:
        InputError: the token cannot be read.
        TargetError: Grafana does not answer, or refuses.
    """
    headers = {}
    if token_file is not None:
        token = given.read_text(token_file, given.MAX_WORD_BYTES).strip()
        if not token or not token.isascii() or not token.isprintable():
            raise InputError("the file holds no token", where=str(token_file))
        headers["Authorization"] = f"Bearer {token}"
    try:
        with web.Client(
            most=MAX_REFUSAL, timeout=WITHIN_S, headers=headers, transport=transport
        ) as client:
            answer = client.post(f"{url}/api/annotations", json=happening.annotation())
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        raise TargetError(web.problem(error, WITHIN_S), where=url) from error
    if answer.status_code != 200:
        said = f"HTTP {answer.status_code}: {message(answer.text)}"
        raise TargetError(said.rstrip(": "), where=url)
