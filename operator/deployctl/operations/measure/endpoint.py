"""Finds the service that a measuring verb is about: by name, the only one, or any `--url`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, NotFoundError, TargetError

if TYPE_CHECKING:
    pass

ServiceArgument = Annotated[
    str | None,
    typer.Argument(help="Name of a service. May be left out when one is running.", metavar="NAME"),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="Any OpenAI-compatible server instead: http://HOST:PORT.", metavar="URL"
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="Model to ask --url for. \\[default: the one it serves]", metavar="NAME"
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File with the API key for --url. DEPLOYCTL_API_KEY works too.",
        metavar="FILE",
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        help="Sent with each request: 'Name: value', or 'Name: @FILE' for a secret. Repeatable.",
        metavar="HEADER",
        show_default=False,
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        help="Certificate of the CA to trust for https.",
        metavar="FILE",
        show_default=False,
    ),
]
TargetOption = Annotated[
    Literal["process", "docker"] | None,
    typer.Option("--target", help="process or docker, if both have that name.", metavar="TARGET"),
]


def resolve(
    service: str | None,
    url: str | None,
    model: str | None,
    key_file: Path | None,
    target: Literal["process", "docker"] | None = None,
) -> Endpoint:
    """Finds the endpoint.

    Raises:
        InputError: flags that do not go together, or an address that is none.
        NotFoundError: no such service, or none is running.
        TargetError: the service is not running.
    """
    if url is None:
        if model is not None or key_file is not None:
            flag = "--model" if model is not None else "--api-key-file"
            raise InputError(
                f"{flag} goes with --url: a service's own is known", hint=f"leave {flag} out"
            )
        return _from_store(service, target)
    if service is not None:
        raise InputError(
            f"both a service ({service}) and --url are given", hint="leave one of them out"
        )
    return Endpoint(base_url(url), model, _key(key_file), None)


def base_url(text: str) -> str:
    """Checks and trims an address: no trailing slash, no /v1.

    Raises:
        InputError: it is no http(s) address, or carries a password.
    """
    try:
        parts = urlsplit(text.strip())
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise InputError(
            f"{text!r} is not an address", where="--url", hint="write http://HOST:PORT"
        )
    if parts.username or parts.password:
        raise InputError(
            "an address must not hold a password",
            where="--url",
            hint="put the API key in a file and give --api-key-file",
        )
    if parts.query or parts.fragment:
        raise InputError(
            "an address with ? or # cannot be a base", where="--url", hint="write http://HOST:PORT"
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("DEPLOYCTL_API_KEY") or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the API key cannot be read: {getattr(error, 'strerror', None) or 'not text'}",
            where=str(file),
            hint="give a file that holds the key and nothing else",
        ) from error
    if not key or not key.isprintable() or " " in key:
        raise InputError(
            "the file does not hold one API key",
            where=str(file),
            hint="one line, no spaces",
        )
    return key


def _from_store(service: str | None, target: Literal["process", "docker"] | None) -> Endpoint:
    from deployctl.spec import Settings
    from deployctl.targets import open_driver
    from deployctl.targets.store import ServiceRef, Store

    settings = Settings()
    store = Store(settings.state_dir)
    refs: list[ServiceRef]
    if service is not None:
        refs = [store.find(service, target)]
    else:
        refs = [ref for ref in store.services() if target in (None, ref.kind)]
    seen: list[tuple[ServiceRef, str, Endpoint | None]] = []
    for ref in refs:
        release = next((r for r in reversed(store.releases(ref)) if r.status == "deployed"), None)
        if release is None:
            if service is not None:
                seen.append((ref, "not deployed", None))
            continue
        driver = open_driver(ref.kind, settings)
        state = driver.state(release)
        endpoint = None
        if state.condition == "running":
            found = driver.endpoint(release)
            endpoint = Endpoint(base_url(found.url), found.model, found.api_key, ref.service)
        detail = f"{state.condition} ({state.detail})" if state.detail else state.condition
        seen.append((ref, detail, endpoint))
    running = [endpoint for _, _, endpoint in seen if endpoint is not None]
    if len(running) == 1:
        return running[0]
    if running:
        names = ", ".join(str(endpoint.service) for endpoint in running)
        raise InputError(
            f"{len(running)} services are running: {names}",
            hint=f"say which one, for example {running[0].service}",
        )
    if not seen:
        raise NotFoundError(
            "no service is running",
            where=str(store.root),
            hint="start one with deployctl up, or give --url",
        )
    ref, detail, _ = seen[0]
    raise TargetError(
        f"{ref.service} is not running: {detail}",
        hint=f"deployctl logs {ref.service} shows why; deployctl up starts it",
    )
