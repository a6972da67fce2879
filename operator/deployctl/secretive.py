"""What is a secret, by the name of a variable or by how a value looks: one list for the spec, the
chart (which has a copy of NAME, in deploy/kubernetes/refusals.yaml), `check` and `diff`.
"""

import re

# Go reads it as Python does: Helm has to, too.
NAME = re.compile(
    r"(?i)((^|[_-])(TOKEN|SECRET|PASS|CREDENTIAL|AUTHORIZATION"
    r"|(ACCESS|ACCOUNT|AUTH|ENCRYPTION|MASTER|PRIVATE|SECRET|SIGNING|STORAGE)[_-]?KEY"
    r"|CONNECTION[_-]?STRING)|[_-]PWD|API[_-]?KEY|PASSWORD|PASSWD|PASSPHRASE|CLIENT_?SECRET)$"
)
FLAGS = ("api-key", "hf-token", "ssl-keyfile-password")  # of vLLM
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})
_MOST = 20_000  # characters that are looked at: a dashboard's JSON is no secret's place
_IN_AN_ADDRESS = "a password in an address"
_LOOKS = (
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("an API key", re.compile(r"\bsk-[A-Za-z0-9_-]{20,}")),
    ("a GitHub token", re.compile(r"\b(ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{20,}")),
    ("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("an AWS key", re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    # A variable or a placeholder in its place is none.
    (_IN_AN_ADDRESS, re.compile(r"://[^/\s:@]*:[^/\s:@$<{*][^/\s@]*@")),
)


def is_named_so(name: str) -> bool:
    """Whether a variable, a flag or a key of that name holds a secret."""
    return NAME.search(name.removesuffix("\n")) is not None


def looks(value: str) -> str | None:
    """What secret a text holds, in words; None: none that is known by its look."""
    shown = value[:_MOST]
    return next((what for what, pattern in _LOOKS if pattern.search(shown)), None)


def instead(name: str, content: str) -> str:
    """What to do with a secret that was given as a variable of a service."""
    if name.upper() in _PROXIES:
        return (
            "name a proxy with a password under proxies in ~/.docker/config.json for Docker, "
            "and in the shell for a process"
        )
    if looks(content) == _IN_AN_ADDRESS:
        return "leave the password out of the address"
    return "use api_key_file or hf_token_file"
