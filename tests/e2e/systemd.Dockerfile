# A machine for tests: systemd is its first program, and a user's units run without a login. What the
# test brings is mounted: a checkout at /opt/deployctl, and the packages that it needs.
ARG BASE=python:3.11-slim-trixie
# hadolint ignore=DL3006
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends systemd dbus dbus-user-session libpam-systemd \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
 && useradd --create-home me \
 && cd /opt && printf '%s\n' \
    deployctl/tests/fake_engine deployctl/operator deployctl/loadtest packages \
    | sed "s|^|$PWD/|" > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/mounted.pth" \
 && printf '#!/bin/sh\nexec python3 -m deployctl "$@"\n' > /usr/local/bin/deployctl \
 && chmod 755 /usr/local/bin/deployctl
STOPSIGNAL SIGRTMIN+3
