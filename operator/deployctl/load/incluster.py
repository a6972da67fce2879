"""A run whose load comes from pods in a cluster: what these need is sent there, what they measure
comes home, and from then on it is a run like any other.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployctl import __version__
from deployctl.endpoint import Endpoint
from deployctl.engines.vllm import BUILT_HERE
from deployctl.errors import InputError
from deployctl.events import Event, Tell, silent
from deployctl.load import locust
from deployctl.load.locust import Ended, Progress
from deployctl.spec import service_name
from deployctl.spec.settings import Settings
from deployctl.targets import open_load
from deployctl.targets.loads import LoadOrder
from deployctl_loadtest import pod, workload
from deployctl_loadtest.result import Setup

IMAGE = f"{BUILT_HERE}loadtest:{__version__}"  # of the pods; docker/loadtest.Dockerfile
_MOST_BYTES = 256 << 20  # of what is sent to each worker
_WORKLOAD, _TRACE, _CERTIFICATES = "workload.json", "trace", "ca.pem"


@contextmanager
def ready(
    setup: Setup, folder: Path, endpoint: Endpoint, tell: Tell = silent
) -> Iterator[Callable[[], Ended]]:
    """Gives what does as `locust.run`, once there are pods for it, which go with the block.

    Raises:
        TargetError: the pods do not come to run.
        InputError: what the workload names is too large to be sent.
    """
    maker = open_load(Settings(), order_of(setup, folder, endpoint), tell)

    def told(progress: Mapping[str, Any]) -> None:
        far = Progress(**progress)
        tell(Event("progress", f"{far.at_s:.0f} s, {far.done} requests done", far))

    def run() -> Ended:
        end = maker.run(folder, told)
        ended = Ended(
            interrupted=end.interrupted,
            unwritten=end.unwritten,
            lost=end.lost,
            began_s=end.began_s,
            locust=end.locust,
        )
        locust.check(folder, ended, end.code or 0)
        return ended

    try:
        maker.begin()
        yield run
    finally:
        maker.end()


def order_of(setup: Setup, folder: Path, endpoint: Endpoint) -> LoadOrder:
    """What the pods are told: the client's key, and of the operator's token nothing. `folder` holds
    the vocabulary, where there is one."""
    files = _files(setup, folder)
    size = sum(len(content) for content in files.values())
    if size > _MOST_BYTES:
        raise InputError(
            f"its files have {size >> 20} MiB, which each worker would be sent; "
            f"{_MOST_BYTES >> 20} are allowed",
            where="--trace" if setup.trace else "--workload",
            hint="take a part of it, or measure from this machine",
        )
    there = Path(pod.FILES)
    of_the_pods = dataclasses.replace(
        setup,
        workload=str(there / _WORKLOAD) if _WORKLOAD in files else setup.workload,
        trace=str(there / _TRACE) if setup.trace else None,
        ca_file=str(there / _CERTIFICATES) if setup.ca_file else None,
    )
    options = locust.arguments(of_the_pods, Path(pod.RESULT), there / locust.VOCABULARY)
    assert setup.worker_image is not None
    return LoadOrder(
        name=setup.service or service_name(setup.model),
        image=setup.worker_image,
        url=setup.url,
        workers=setup.workers,
        options=tuple(options),
        files=files,
        secrets=locust.secrets(endpoint.api_key, endpoint.headers),
        lasts_s=setup.cut_s + setup.duration_s,
        service=endpoint.service,
    )


def _files(setup: Setup, folder: Path) -> dict[str, bytes]:
    """What the options name, by its name there."""
    files: dict[str, bytes] = {}
    if setup.workload != "fixed":
        texts = workload.portable(setup.workload, _WORKLOAD)
        files |= {name: text.encode() for name, text in texts.items()}
    if setup.trace is not None:
        files[_TRACE] = Path(setup.trace).read_bytes()
    if setup.ca_file is not None:
        files[_CERTIFICATES] = Path(setup.ca_file).read_bytes()
    if setup.prompt_lengths == "exact":
        files[locust.VOCABULARY] = (folder / locust.VOCABULARY).read_bytes()
    return files
