"""Target `docker`: a Compose project on a Docker engine, local or through DOCKER_HOST."""
