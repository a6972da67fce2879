"""A Compose project that lives on another one's caches: models and compiled code. Pure."""

from typing import Any

import yaml

from deployctl.render.bundle import Bundle
from deployctl.render.compose import COMPOSE_FILE, project_name


def with_caches_of(service: str, bundle: Bundle) -> Bundle:
    """The same project on the volumes of a service: what that has downloaded is there, and what
    is downloaded now will be there for it."""
    document: dict[str, Any] = yaml.safe_load(bundle.files[COMPOSE_FILE])
    document["volumes"] = {
        name: {"name": f"{project_name(service)}_{name}", "external": True}
        for name in document["volumes"]
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return bundle.model_copy(update={"files": {**bundle.files, COMPOSE_FILE: text}})


def borrowed(bundle: Bundle) -> list[tuple[str, str]]:
    """The project and the short name of each volume that another project owns."""
    volumes: dict[str, Any] = yaml.safe_load(bundle.files[COMPOSE_FILE])["volumes"]
    return [
        (str(volume["name"]).removesuffix(f"_{name}"), name)
        for name, volume in volumes.items()
        if volume.get("external")
    ]
