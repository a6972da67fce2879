"""Images of others' that a Docker engine has to have."""

from deployctl.events import Event, Tell
from deployctl.targets.docker import commands, translate
from deployctl.targets.docker.engine import DockerEngine


def fetch(
    engine: DockerEngine, run: commands.Run, image: str, tell: Tell, *, offline: bool
) -> bool:
    """Pulls an image where it is missing; whether it was.

    Raises:
        DockerError: it cannot be pulled.
    """
    if engine.has_image(image):
        return False
    if offline:
        raise translate.image_absent(image)
    tell(Event("phase", f"pulling the image {image.partition('@')[0]}"))
    pulled = run(commands.pull(image), {})
    if pulled.code != 0:
        raise translate.image_missing(image, pulled.stderr)
    return True
