"""The keys of a service that a Docker engine keeps, also while nothing of it runs: in a volume
`deployctl-SERVICE_keys`, all in one document (`twofiles`). Whoever controls the engine can read
them, as in the containers that it runs. Only the holder of their lock writes.
"""

from collections.abc import Mapping

from deployctl.render.compose import LABEL, project_name
from deployctl.targets.docker.carriers import Carriers
from deployctl.targets.docker.twofiles import TwoFiles, newer, of_text, texts

SERVICE = LABEL + "keys"
VERSION = 1  # of the document
_FOLDER = "/keys"


def name_of(service: str) -> str:
    """Of the volume and of its container."""
    return f"{project_name(service)}_keys"


class KeptKeys:
    """Those of all services of one engine, by the names of their files. Methods raise DockerError,
    and StateError where a newer deployctl wrote them."""

    def __init__(self, carriers: Carriers) -> None:
        self._carriers = carriers

    def kept(self, service: str) -> dict[str, bytes] | None:
        """What it keeps of a service: none of those that were taken away; None where it was never
        given anything."""
        document = self._files(service).newest()
        if document is None:
            return None
        if document["version"] > VERSION:
            raise newer("keys", document["version"])
        return {name: of_text(text) for name, text in document["files"].items()}

    def keep(self, service: str, files: Mapping[str, bytes]) -> None:
        """Has it keep these, and no others."""
        self._carriers.make_volume(name_of(service), {SERVICE: service})
        former = self._files(service).newest()
        count = former["count"] + 1 if former else 1
        document = {"version": VERSION, "count": count, "files": texts(files)}
        self._files(service).write(document)

    def take_away(self, service: str) -> None:
        """Has it keep that there are none any more, for those who have a copy of them. Twice: what
        was there before is in the other of two files."""
        for _ in range(2):
            self.keep(service, {})

    def forget(self, service: str) -> None:
        """Removes all that it keeps of a service, and that it ever did."""
        self._files(service).forget()

    def _files(self, service: str) -> TwoFiles:
        return TwoFiles(self._carriers, name_of(service), _FOLDER, {SERVICE: service})
