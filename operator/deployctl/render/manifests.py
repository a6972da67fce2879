"""The bundle of target `manifests`: what the chart gives for a plan, as plain files.

`helm template` fills the chart in (deployctl.targets.helm runs it).
"""

import re

from deployctl.planning.plan import ServingPlan
from deployctl.render import yamltext
from deployctl.render.bundle import Bundle

KUSTOMIZATION = "kustomization.yaml"
_SOURCE = re.compile(r"# Source: [^/\s]+/templates/(?P<path>[a-z0-9/_-]+\.yaml)\n")
_SEPARATOR = re.compile(r"^---\n", re.MULTILINE)


def render_manifests(plan: ServingPlan, templated: str) -> Bundle:
    """Splits the output of `helm template` into a file an object, and a kustomization that lists
    them; nothing of it is changed but its comments' order.

    Raises:
        ValueError: it is no such output; a bug.
    """
    files: dict[str, str] = {}
    for part in _SEPARATOR.split(templated):
        if not part.strip():
            continue
        source = _SOURCE.search(part)
        if source is None:
            raise ValueError(f"an object without its source: {part[:80]!r}")
        body = part.replace(source.group(), "", 1).strip("\n") + "\n"
        path = source["path"]
        files[path] = f"{files[path]}---\n{body}" if path in files else body
    ordered = dict(sorted(files.items()))
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(ordered),
    }
    comment = (
        f"Rendered by deployctl for the service {plan.name}.\n"
        "Change the service's spec and render again rather than editing these files."
    )
    return Bundle(
        target="manifests",
        service=plan.name,
        files={KUSTOMIZATION: yamltext.write(document, comment), **ordered},
    )
