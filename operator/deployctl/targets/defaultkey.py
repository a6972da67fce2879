"""The key `default` while a service is brought up: the one that is wanted, and the one before."""

from collections.abc import Mapping
from pathlib import Path

from deployctl.events import Event, Tell
from deployctl.files import write_private
from deployctl.spec import ServiceSpec
from deployctl.targets import keyfile, keys
from deployctl.targets.keyfile import DEFAULT


class DefaultKey:
    """What is wanted of it is looked up once. `keys add` may put another in place at any time,
    which is left there. One that was revoked is not taken again.

    Raises:
        SpecError: the key that is given is none.
        StateError: the one before, or the list of those revoked, cannot be read.
    """

    def __init__(
        self, folder: Path, spec: ServiceSpec, environment: Mapping[str, str], tell: Tell
    ) -> None:
        self._folder = folder
        self._path = folder / keys.API_KEY
        self._tell = tell
        # None: none is needed, or one is to be made.
        self._wanted = keys.wanted_key(spec, self._path, environment)
        self._before = keys.read_key(self._path)
        if self._before is not None and self._was_revoked():
            tell(Event("warning", "the API key that is given was revoked, and is not taken again"))
            self._wanted = self._before

    @property
    def changes(self) -> bool:
        """Whether another key is wanted than the one that is there."""
        return self._wanted is not None and self._wanted != self._before

    def place(self) -> None:
        """Puts it in place, where another is wanted or there is none.

        Raises:
            StateError: it cannot be written.
        """
        with keys.locked(self._folder):
            if self.changes or keys.read_key(self._path) is None:
                keys.place_key(self._path, self._wanted)

    def make_up_for_lost(self, serving: ServiceSpec | None) -> None:
        """Puts one in place of what serves where its own is gone: nobody could ask that.

        Raises:
            StateError: it cannot be written.
        """
        if serving is None or not serving.needs_api_key or self._before is not None:
            return
        with keys.locked(self._folder):
            if keys.read_key(self._path) is None:
                self._wanted = keys.place_key(self._path, self._wanted)
                self._tell(Event("warning", "the service's API key was gone: it has a new one"))

    def restore(self) -> None:
        """Puts the one before back.

        Raises:
            StateError: it cannot be written.
        """
        with keys.locked(self._folder):
            if self.changes and self._before and keys.read_key(self._path) == self._wanted:
                keys.place_key(self._path, self._before)

    def lift(self) -> bool:
        """Lifts the revocation of the one before, where there is a new one; whether it did.

        Raises:
            StateError: the keys cannot be read or written.
        """
        path = self._folder / keys.KEYS
        with keys.locked(self._folder):
            file = keyfile.read(path)
            if file is None or DEFAULT not in file.revoked:
                return False
            if self.changes or self._before is None:
                write_private(path, file.lifted(DEFAULT).content())
                return True
        again = f"deployctl keys add {self._folder.name} default makes another"
        self._tell(Event("warning", f"the API key is revoked, and opens nothing; {again}"))
        return False

    def _was_revoked(self) -> bool:
        """Whether another key is given that was taken away once."""
        if self._wanted is None or not self.changes:
            return False
        file = keyfile.read(self._folder / keys.KEYS)
        return file is not None and keyfile.hash_of(self._wanted) in file.former
