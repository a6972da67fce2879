"""Whether nodes get the image: from what they hold, and from what they have told of pulls."""

import re
from collections.abc import Iterator

from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document
from deployctl.doctor.cluster.telling import some
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
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"{_HUB}/{image}" if slash else f"{_HUB}/library/{image}"


def _image(image: str, facts: ClusterFacts) -> Check:
    it, name = Topic("image", f"Image {image}"), whole(image)
    registry = name.partition("/")[0]
    holders = [
        node["metadata"]["name"]
        for node in facts.nodes or ()
        if any(
            name in (each.get("names") or ())
            for each in (node.get("status") or {}).get("images") or ()
        )
    ]
    pulled, failed = (_said(facts, how, registry) for how in (_PULLED, _FAILED))
    newest = max((_time(e) for e, _ in pulled), default=None)
    late = [(e, said) for e, said in failed if newest is None or _time(e) > newest]
    if late:
        why = max(late, key=lambda each: _time(each[0]))[1]["why"]
        short = why.strip().rpartition(": ")[2] or why
        fix = "the nodes must reach the registry; engine.pullSecrets names a Secret with an account"
        return it.warn(f"a pull from {registry} failed lately: {short}", fix)
    if holders:
        return it.good(f"on {some(holders)} already")
    if pulled:
        return it.good(f"nodes pulled {pulled[-1][1]['image']} from {registry} lately")
    fix = "--probe starts a small pod of it, which takes as long as the pull"
    return it.warn(f"unknown whether nodes reach {registry}: no pull from there was told", fix)


def _said(
    facts: ClusterFacts, how: re.Pattern[str], registry: str
) -> list[tuple[Document, re.Match[str]]]:
    """The events that tell of a pull from a registry."""
    told = ((event, how.search(str(event.get("message")))) for event in facts.events or ())
    return [
        (event, said)
        for event, said in told
        if said and whole(said["image"]).partition("/")[0] == registry
    ]


def _time(event: Document) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
