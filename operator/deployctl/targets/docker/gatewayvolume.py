"""The gateway's files on a Docker engine: a volume, so that all who use the engine have the same
gateway, from wherever they come.

It is read through a container that is never started (`carriers`), and changed by a shell: in the
gateway's own container while that runs, else in one of its image that ends at once. Thereby a file
is put in another's place whole, while Caddy reads it at each attempt to dial.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from deployctl.errors import DockerError
from deployctl.events import Tell
from deployctl.files import make_folder, write_private
from deployctl.render.compose import LABEL, UID
from deployctl.render.gatewayproject import CADDY, FOLDER, PROJECT, VOLUME
from deployctl.targets.docker import commands, enginelock, translate
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.gatewayfiles import PATIENCE_S
from deployctl.targets.holder import Check

_LABELS = {LABEL + "gateway": "1"}
_WRITE = """\
umask 077; to=$1; shift
mkdir -p "$(dirname "$to")" && printf %s "$@" > "$to.new" && mv "$to.new" "$to"
"""
_PIECE = 30_000  # characters of a text: no argument of a program may have more than 128 KiB
_MOVE = 'if [ -e "$1" ]; then mv "$1" "$2"; fi'
_REMOVE = "rm -f $1"  # which may be a pattern
# Those that were written while it did not run are root's.
_OWN = f"\nwrote=$?; chown -R {UID}:{UID} . && exit $wrote"


class VolumeFiles:
    """`image` is that of the gateway; below `copies` are those that this machine needs."""

    def __init__(
        self, engine: Callable[[], DockerEngine], run: commands.Run, image: str, copies: Path
    ) -> None:
        self._engine = engine
        self._run = run
        self._image = image
        self._copies = copies

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        found = self._content(path)
        return None if found is None or "" not in found else found[""].decode("utf-8", "replace")

    def below(self, folder: str) -> dict[str, str]:
        """The texts of all files in a folder, by name."""
        found = self._content(folder) or {}
        return {
            name: content.decode("utf-8", "replace")
            for name, content in sorted(found.items())
            if name and not name.endswith(".new")
        }

    def write(self, path: str, text: str) -> None:
        """Puts a file in the place of the one that is there."""
        self._shell(_WRITE, path, *(text[at : at + _PIECE] for at in range(0, len(text), _PIECE)))

    def move(self, path: str, to: str) -> None:
        """Puts one in another's place."""
        self._shell(_MOVE, path, to)

    def remove(self, path: str) -> None:
        """Removes one, or those that match a pattern."""
        self._shell(_REMOVE, path)

    def where(self, path: str) -> str:
        """In which volume it is."""
        return f"{path} in the volume {VOLUME} of the Docker engine"

    def here(self, path: str) -> Path | None:
        """A copy of it."""
        text = self.read(path)
        if text is None:
            return None
        copy = self._copies / Path(path).name
        make_folder(copy.parent)
        write_private(copy, text.encode())
        return copy

    def locked(self, tell: Tell) -> AbstractContextManager[Check]:
        """By a lock on the engine. Where it is lost, others may have changed them since."""
        return enginelock.held_shortly(
            self._engine().carriers,
            "host",
            "gateway",
            tell,
            patience_s=PATIENCE_S,
            as_we_left_it=lambda: False,
        )

    def _content(self, path: str) -> dict[str, bytes] | None:
        carriers = self._engine().carriers
        found = carriers.read(VOLUME, f"{FOLDER}/{path}")
        if found is None and carriers.find(VOLUME) is None and carriers.volume(VOLUME) is not None:
            carriers.create(VOLUME, _LABELS, {VOLUME: FOLDER})  # it was pruned
            found = carriers.read(VOLUME, f"{FOLDER}/{path}")
        return found

    def _shell(self, script: str, *words: str) -> None:
        engine = self._engine()
        running = [c for c in engine.containers(PROJECT, CADDY) if c.status == "running"]
        if running:
            try:
                code, said = engine.asked(running[0], ["sh", "-c", script, "-", *words])
            except DockerError:  # it has ended meanwhile, or is paused
                pass
            else:
                if code == 0:
                    return
                raise _failed(said)
        carriers = engine.carriers
        if carriers.volume(VOLUME) is None:
            carriers.make_volume(VOLUME, _LABELS)
        if carriers.find(VOLUME) is None:
            carriers.create(VOLUME, _LABELS, {VOLUME: FOLDER})
        done = self._run([*_aside(self._image), script + _OWN, "-", *words], {})
        if done.code != 0:
            raise _failed(done.stderr)


def _aside(image: str) -> list[str]:
    """Starts a shell beside the gateway, whose script and arguments are yet to be added."""
    return [
        *("docker", "run", "--rm", "--pull", "never", "--read-only", "--network", "none"),
        *("--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE"),
        *("--security-opt", "no-new-privileges:true", "--user", "0:0"),
        *("--volume", f"{VOLUME}:{FOLDER}", "--workdir", FOLDER),
        *("--entrypoint", "sh", image, "-c"),
    ]


def _failed(said: str) -> DockerError:
    return DockerError(
        f"the gateway's files cannot be written: {translate.last_line(said)}",
        where=f"volume {VOLUME}",
        hint="deployctl doctor --target docker checks the host",
    )
