"""Receivers of every kind, and an Alertmanager whose answers a test makes."""

import yaml
from pydantic import TypeAdapter

from deployctl.spec.receivers import Receivers

RECEIVERS = [
    {"name": "on-call", "kind": "pagerduty", "routing_key_file": "/run/pd", "severity": "critical"},
    {"name": "team", "kind": "slack", "api_url_file": "/run/slack", "severity": "warning"},
    {"name": "hook", "kind": "webhook", "url_file": "/run/hook"},
    {
        "name": "mail",
        "kind": "mail",
        "to": "ops@example.com",
        "from": "deployctl@example.com",
        "smarthost": "smtp.example.com:587",
        "auth_username": "deployctl",
        "auth_password_file": "/run/mail",
    },
]


def receivers(*named):
    """Those of RECEIVERS, or the named ones."""
    listed = [each for each in RECEIVERS if not named or each["name"] in named]
    return TypeAdapter(Receivers).validate_python(listed)


def loaded(files, path):
    """A rendered file."""
    return yaml.safe_load(files[path])
