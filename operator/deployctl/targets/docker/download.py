"""Where the model of a release is downloaded to, on whichever host its Docker engine is."""

from collections.abc import Mapping

from deployctl.render.candidate import owner_of_caches
from deployctl.render.compose import HUB_CACHE
from deployctl.targets.docker import commands, translate
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.driver import Downloader
from deployctl.targets.history import Release


def downloader(
    release: Release, engine: DockerEngine, run: commands.Run, environment: Mapping[str, str]
) -> Downloader | None:
    """A container of the engine's image on the volume that its engine will have; None where the
    service's own environment leads out of that volume.

    Raises:
        DockerError: the volume cannot be made.
    """
    if commands.leaves_the_volume(release):
        return None
    volume = engine.keep_volume(owner_of_caches(release.bundle), HUB_CACHE.name)
    owned = run(commands.own_cache(release, volume), {})
    if owned.code != 0:
        raise translate.download_failed(owned.stderr)
    words = commands.downloader(release, volume, offline=release.spec.offline)
    place = f"the volume {volume}"
    if engine.address.remote:
        place += f" on {engine.address.hostname}"
    return Downloader(tuple(words), dict(environment), place)
