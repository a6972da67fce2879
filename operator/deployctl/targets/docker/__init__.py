"""Target `docker`: a Compose project on a Docker engine, local or through DOCKER_HOST."""

from deployctl.targets.docker.driver import DockerDriver

__all__ = ["DockerDriver"]
