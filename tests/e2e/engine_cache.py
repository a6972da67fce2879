"""Caches of engines that know the model's class already.

Before vLLM plans anything, it loads itself once more in a process of its own to look at the
model's class, 15 s of a core, and keeps in its cache what it saw, by the hash of the class's
source. A service's cache is its own; here all services share that part of it.
"""

import shutil
from pathlib import Path

KNOWN = "modelinfos"  # vllm/model_executor/models/registry.py


def knowing(cache, shared, *services):
    """A cache folder for deployctl, in which these services find what others have learned."""
    known = Path(shared) / KNOWN
    known.mkdir(parents=True, exist_ok=True)
    for service in services:
        own = Path(cache) / "engine" / service
        own.mkdir(parents=True)
        (own / KNOWN).symlink_to(known)
    return Path(cache)


def teach(cache, shared):
    """Copies what is known into a new cache of vLLM's, which belongs to a container's user."""
    known = cache / KNOWN
    shutil.copytree(Path(shared) / KNOWN, known)
    for path in (cache, known, *known.iterdir()):
        path.chmod(0o777)
