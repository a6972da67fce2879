"""Logs of several engines as one: each line says of which replica it is. Of one alone, that."""

from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread


def marked(logs: Sequence[Iterator[str]], *, together: bool) -> Iterator[str]:
    """One log after the other; or `together`, each line as it comes, until all have ended.

    Raises:
        What reading one raises.
    """
    if len(logs) == 1:
        return logs[0]
    if together:
        return _together(logs)
    return (_line(number, line) for number, log in enumerate(logs) for line in log)


def _line(number: int, line: str) -> str:
    return f"replica {number}: {line}"


def _together(logs: Sequence[Iterator[str]]) -> Iterator[str]:
    said: SimpleQueue[str | BaseException | None] = SimpleQueue()  # None: one has ended

    def read(number: int, log: Iterator[str]) -> None:
        try:
            for line in log:
                said.put(_line(number, line))
            said.put(None)
        except BaseException as error:
            said.put(error)

    for number, log in enumerate(logs):  # they end with the program, where nobody listens any more
        Thread(target=read, args=(number, log), daemon=True).start()
    left = len(logs)
    while left:
        found = said.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            left -= 1
        else:
            yield found
