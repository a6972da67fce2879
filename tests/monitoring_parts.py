"""Receivers of every kind, and an Alertmanager whose answers a test makes."""

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
