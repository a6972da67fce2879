# What makes load from inside a cluster: Locust and our side of it on a plain Python base, as a user.
#
# From the public registries, in a checkout:
#   docker build -f docker/loadtest.Dockerfile -t deployctl/loadtest:0.1.0 loadtest
#
# From a local root, with wheels and certificates of your own:
#   docker build -f docker/loadtest.Dockerfile -t deployctl/loadtest:0.1.0 \
#     --build-arg BASE=my/python:3.11 \
#     --build-context wheels=/opt/wheels --build-context certs=/etc/ssl/certs loadtest

# By digest, of all machines it is made for; whoever builds may choose another. Of this one Dependabot
# says what is newer, as it reads the first FROM and no ARG.
ARG BASE=upstream
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS upstream

# Empty unless --build-context puts a folder of wheels, or of certificates, in their place.
FROM scratch AS wheels
FROM scratch AS certs

# hadolint ignore=DL3006
FROM ${BASE}

# Each file by its hash, and nothing else (scripts/requirements.py writes the list): Locust and its
# own, in the versions that deployctl itself is tested with.
RUN --mount=type=bind,from=wheels,target=/mnt/wheels \
    --mount=type=bind,source=requirements.txt,target=/mnt/requirements.txt \
    --mount=type=bind,from=certs,target=/mnt/certs \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -s /mnt/certs/ca-certificates.crt ]; then \
      export PIP_CERT=/mnt/certs/ca-certificates.crt; \
    fi; \
    python3 -m pip install --root-user-action=ignore --disable-pip-version-check \
      --find-links /mnt/wheels --no-deps --require-hashes -r /mnt/requirements.txt

COPY workloads /opt/deployctl/workloads
COPY deployctl_loadtest /opt/deployctl/deployctl_loadtest
# A pod's root is read-only: Python could not keep there what it compiles.
RUN python3 -m compileall -q /opt/deployctl/deployctl_loadtest

ENV HOME=/tmp \
    PYTHONPATH=/opt/deployctl \
    PYTHONUNBUFFERED=1
# No value has a space, and SHELL is not set: BuildKit's history, where scanners of images read how
# one was made, has no quotes, and they pass over what they cannot parse.
LABEL org.opencontainers.image.title="vllm-load" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
ENTRYPOINT ["python3", "-m", "deployctl_loadtest.pod"]
