"""Whether nodes get the image: from what they hold, and from what they have told of pulls."""

import re
from collections.abc import Iterator

from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion
from deployctl.doctor.cluster.room import some
from deployctl.doctor.facts import Check, Topic

_PULLED = re.compile(r'Successfully pulled image "(?P<image>[^"]+)"')
_FAILED = re.compile(r'Failed to pull image "(?P<image>[^"]+)": (?P<why>.*)', re.DOTALL)
_HUB = "docker.io"  # where an image is from that names no registry


def registry_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """A line an image."""
    images = dict.fromkeys(image for pod in question.needs.pods for image in pod.images)
    for image in images:
        yield _image(image, facts)


def whole(image: str) -> str:
    """An image's name with its registry: `docker.io/library/busybox:1`."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"{_HUB}/{image if slash else 'library/' + first}" if not rest else f"{_HUB}/{image}"


def _image(image: str, facts: ClusterFacts) -> Check:
    it, name = Topic("image", f"Image {image}"), whole(image)
    registry = name.partition("/")[0]
    holders = [
        node["metadata"]["name"]
        for node in facts.nodes or ()
        if any(name in (each.get("names") or ()) for each in _images(node))
    ]
    pulls = [(e, _PULLED.search(str(e.get("message")))) for e in facts.events or ()]
    pulled = [
        (e, m["image"]) for e, m in pulls if m and whole(m["image"]).startswith(registry + "/")
    ]
    fails = [(e, _FAILED.search(str(e.get("message")))) for e in facts.events or ()]
    failed = [
        (e, m["why"]) for e, m in fails if m and whole(m["image"]).partition("/")[0] == registry
    ]
    newest = max((_time(e) for e, _ in pulled), default=None)
    late = [(e, why) for e, why in failed if newest is None or _time(e) > newest]
    if late:
        _, why = max(late, key=lambda each: _time(each[0]))
        short = why.strip().rpartition(": ")[2] or why
        fix = "the nodes must reach the registry; engine.pullSecrets names a Secret with an account"
        return it.warn(f"a pull from {registry} failed lately: {short}", fix)
    if holders:
        return it.good(f"on {some(holders)} already")
    if pulled:
        return it.good(f"nodes pulled {pulled[-1][1]} from {registry} lately")
    fix = "--probe starts a small pod of it, which takes as long as the pull"
    return it.warn(f"unknown whether nodes reach {registry}: no pull from there was told", fix)


def _images(node: dict[str, object]) -> list[dict[str, list[str]]]:
    status = node.get("status")
    return list(status.get("images") or ()) if isinstance(status, dict) else []


def _time(event: dict[str, object]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
