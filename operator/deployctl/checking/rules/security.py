"""What the containers may do: no root, no capabilities, no way to more."""

from collections.abc import Iterator

from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.pods import Container
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, items, mapping

GROUP = "Security"
ROOT = rule(
    "run-as-root",
    Severity.warning,
    "A flaw in the engine or in a model's code is root in the container.",
    group=GROUP,
)
ESCALATION = rule(
    "privilege-escalation",
    Severity.warning,
    "A set-uid program in the image makes anybody root.",
    group=GROUP,
)
CAPABILITIES = rule(
    "capabilities",
    Severity.warning,
    "Serving needs none of the capabilities that a container gets by default.",
    group=GROUP,
)
SECCOMP = rule(
    "seccomp",
    Severity.warning,
    "Without a seccomp profile every system call of the kernel is within reach.",
    group=GROUP,
)
PRIVILEGED = rule(
    "privileged",
    Severity.error,
    "A privileged container owns the host, and sees every card of it.",
    group=GROUP,
)
HOST = rule(
    "host-namespaces",
    Severity.error,
    "Sharing the host's network, processes or memory takes the fence away.",
    group=GROUP,
)
TOKEN = rule(
    "service-account-token",
    Severity.warning,
    "The engine holds a token for the cluster's API, which it never uses.",
    group=GROUP,
)


@check
def containers(scene: Scene) -> Iterator[Finding]:
    """Security settings of the containers of engine pods, and the grossest ones of all."""
    engine_pods = set(scene.engine_pods)
    for pod in scene.pods:
        for container in pod.containers:
            context = mapping(container.data.get("securityContext"))
            if context.get("privileged") is True:
                yield PRIVILEGED.at(
                    container.place.child("securityContext", "privileged"),
                    f"the container {container.name[:60]} is privileged",
                    "remove it; a GPU needs nvidia.com/gpu in the limits and no privilege",
                )
            if pod in engine_pods:
                yield from _fence(container)


def _fence(container: Container) -> Iterator[Finding]:
    place = container.place.child("securityContext")
    name = container.name[:60] or "the container"
    user = container.setting("runAsUser")
    if user == 0 or (container.setting("runAsNonRoot") is not True and not user):
        yield ROOT.at(
            place.child("runAsNonRoot"),
            f"{name} may run as root",
            "write runAsNonRoot: true, runAsUser: 10001, and give HOME and the caches a volume",
        )
    if container.setting("allowPrivilegeEscalation") is not False:
        yield ESCALATION.at(
            place.child("allowPrivilegeEscalation"),
            f"{name} may gain privileges",
            "write allowPrivilegeEscalation: false",
        )
    dropped = items(dig(container.data, "securityContext", "capabilities", "drop"))
    added = items(dig(container.data, "securityContext", "capabilities", "add"))
    if "ALL" not in [str(d).upper() for d in dropped]:
        yield CAPABILITIES.at(
            place.child("capabilities"),
            f"{name} keeps the default capabilities",
            "write capabilities: {drop: [ALL]}",
        )
    elif added:
        yield CAPABILITIES.at(
            place.child("capabilities", "add"),
            f"{name} gets {', '.join(str(a)[:30] for a in added[:5])}",
            "remove it: vLLM needs no capability",
        )
    profile = mapping(container.setting("seccompProfile")).get("type")
    if profile not in ("RuntimeDefault", "Localhost"):
        yield SECCOMP.at(
            place.child("seccompProfile"),
            f"{name} has no seccomp profile",
            "write seccompProfile: {type: RuntimeDefault}",
        )


@check
def pods(scene: Scene) -> Iterator[Finding]:
    """Host namespaces and tokens of engine pods."""
    for pod in scene.engine_pods:
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(key) is True:
                instead = "an emptyDir with medium: Memory at /dev/shm" if key == "hostIPC" else ""
                yield HOST.at(
                    pod.place.child(key),
                    f"the pod shares the host's {key.removeprefix('host').lower()}",
                    f"remove it{'; use ' + instead if instead else ''}",
                )
        account = str(pod.spec.get("serviceAccountName") or "default")
        document = scene.find("ServiceAccount", account, pod.namespace)
        own = pod.spec.get("automountServiceAccountToken")
        inherited = document.data.get("automountServiceAccountToken") if document else None
        if own is not False and not (own is None and inherited is False):
            yield TOKEN.at(
                pod.place.child("automountServiceAccountToken"),
                "a token for the cluster's API is mounted",
                "write automountServiceAccountToken: false",
            )
