"""What uvicorn writes of requests, without their queries: some clients send keys in them."""

import logging

_OF_REQUESTS = ("uvicorn.access", "uvicorn.error")  # the latter of WebSockets


def without_queries() -> None:
    """Has the lines of this process end an address where its query begins."""
    for name in _OF_REQUESTS:
        logging.getLogger(name).addFilter(_cut)


def _cut(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            each.partition("?")[0] if isinstance(each, str) else each for each in record.args
        )
    return True
