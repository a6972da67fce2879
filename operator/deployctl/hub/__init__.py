"""Fetches what a checkpoint says of itself, from a folder or the Hub: documents and the headers
of its weights. Weights are brought by `transfer` alone, for an engine. The only room of these
that touches disk and network.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployctl.endpoint import without_credentials
from deployctl.errors import HubError, InputError, SpecError
from deployctl.given import MAX_WORD_BYTES, expanded, read_text
from deployctl.hub.checkpoint import Checkpoint, gather
from deployctl.hub.folder import FolderCheckpoint
from deployctl.hub.listing import Listing, list_files
from deployctl.hub.source import HubId, locate
from deployctl.model import Documents

if TYPE_CHECKING:
    import httpx

DEFAULT_ENDPOINT = "https://huggingface.co"  # as huggingface_hub has it (constants.py)

__all__ = ["HubError", "Listing", "endpoint", "fetch", "is_offline", "listing", "locate"]


def fetch(
    source: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    offline: bool = False,
    client: "httpx.Client | None" = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Documents:
    """Reads the documents of a checkpoint.

    `HF_ENDPOINT` names another Hub. When `offline`, or with `HF_HUB_OFFLINE=1`, a Hub id is
    looked for in the Hub's own cache on this machine. A `client` is for tests and special networks.

    Raises:
        ModelError: no such checkpoint, or its documents are missing, broken or impossible.
        HubError: the Hub refuses or cannot be reached.
        SpecError: HF_ENDPOINT is no address.
    """
    place = locate(source, revision)
    with _opened(place, token, offline, client, sleep) as checkpoint:
        return gather(checkpoint)


def listing(
    source: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    offline: bool = False,
    client: "httpx.Client | None" = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Listing:
    """Lists the files that an engine reads of a checkpoint, with sizes and digests.

    Arguments and errors are those of `fetch`.
    """
    place = locate(source, revision)
    with _opened(place, token, offline, client, sleep) as checkpoint:
        return list_files(checkpoint)


@contextlib.contextmanager
def _opened(
    place: Path | HubId,
    token: str | None,
    offline: bool,
    client: "httpx.Client | None",
    sleep: Callable[[float], None],
) -> Iterator[Checkpoint]:
    if isinstance(place, Path):
        yield FolderCheckpoint(place)
        return
    if offline or is_offline():
        yield _cached(place)
        return
    from deployctl import web
    from deployctl.hub.repository import SLOWEST, TIMEOUT, HubCheckpoint, HubClient

    own = web.roaming(TIMEOUT, slowest=SLOWEST)
    with own if client is None else contextlib.nullcontext(client) as http:
        hub = HubClient(http, endpoint=endpoint(), token=token, sleep=sleep)
        yield HubCheckpoint(hub, place)


def is_offline() -> bool:
    """Whether the environment says that the Hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    """The Hub's address, or that of the mirror that stands for it.

    Raises:
        SpecError: HF_ENDPOINT is no address.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(endpoint)
        good = parts.scheme in ("http", "https") and parts.hostname and endpoint.isprintable()
    except ValueError:
        good = False
    if not good or " " in endpoint:
        raise SpecError(
            "this is not the address of a Hub",
            where=f"HF_ENDPOINT: {ascii(without_credentials(endpoint))[:100]}",
            hint="write for example https://huggingface.co",
        )
    return endpoint


def _cached(wanted: HubId) -> FolderCheckpoint:
    """The snapshot of a model in the cache that huggingface_hub keeps, by its layout."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    cache = expanded(Path(os.environ.get("HF_HUB_CACHE") or home / "hub"))
    folder = cache / f"models--{wanted.name.replace('/', '--')}"
    commit = wanted.revision or "main"
    with contextlib.suppress(InputError):  # the revision may be a commit itself
        commit = read_text(folder / "refs" / commit, MAX_WORD_BYTES).strip()[:64]
    snapshot = folder / "snapshots" / commit
    if not commit.replace("-", "").replace(".", "").isalnum() or not snapshot.is_dir():
        raise HubError(
            "offline, and the model is not in the Hub's cache",
            where=str(folder),
            hint="fetch it first (deployctl fetch), go online (--offline or HF_HUB_OFFLINE is "
            "set), or give a folder as deployctl fetch --to makes one",
        )
    return FolderCheckpoint(snapshot, hub_id=wanted.name, commit=commit)
