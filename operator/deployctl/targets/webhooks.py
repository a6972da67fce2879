"""What to do where an admission webhook of a cluster has a part in a refusal. Pure."""

import re

_NAMED = re.compile(r'webhook "(?P<name>[^"]+)"')
_SILENT = re.compile(r"failed (?:calling|to call) webhook")


def hint(said: str) -> str | None:
    """By what the API server said; None where it names no webhook."""
    named = _NAMED.search(said)
    if named is None:
        return None
    kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
    whose = f"kubectl get {kinds} shows whose {named['name']} is"
    if _SILENT.search(said):
        return f"it does not answer, and lets nothing by until it does or is removed; {whose}"
    return f"do what it asks for, or have its owner let the service in; {whose}"
