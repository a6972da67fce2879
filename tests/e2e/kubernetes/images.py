"""Images that tests build: each named after what it is made of, so that a node that has it has the
one of today.
"""

import hashlib
from pathlib import Path

from tests.e2e.docker_parts import docker

BASE = "deployctl/python:3.11-trixie"  # of .ci/docker-engine, where nothing can be pulled
CERTIFICATES = Path("/etc/ssl/certs")


def built(name, dockerfile, folder, *, made_of=(), certificates=False, target=None):
    """The name of the image that a Dockerfile makes of a folder; of the files in it that are named,
    or of none; up to its stage `target`."""
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in (*made_of, dockerfile)))
    image = f"{name}:made-of-{digest.hexdigest()[:12]}"
    if not docker("image", "ls", "--quiet", image):
        words = ["--build-arg", f"BASE={BASE}"] if docker("image", "ls", "--quiet", BASE) else []
        if certificates and CERTIFICATES.exists():
            words += ["--build-context", f"certs={CERTIFICATES}"]
        words += ["--target", target] if target else []
        # What is made anew and comes out the same would be the same image under two names, and
        # nodes that have it under one of them would not get the other.
        words += ["--label", f"made-of={image}"]
        docker("build", "--file", dockerfile, "--tag", image, *words, folder)
    return image
