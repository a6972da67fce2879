# Before several replicas: vllm-router from PyPI, and HAProxy, which stands before it in its pod and
# lets through what clients may ask. One image for the chart's router.image and router.proxyImage.
#
#   docker build -f docker/router.Dockerfile -t deployctl/vllm-router:0.1.17 docker
#
# From a local root, with certificates of your own:
#   docker build -f docker/router.Dockerfile -t deployctl/vllm-router:0.1.17 \
#     --build-arg BASE=my/python:3.11 --build-context certs=/etc/ssl/certs docker

# By digest, of all machines it is made for; whoever builds may choose another. Of this one Dependabot
# says what is newer, as it reads the first FROM and no ARG.
ARG BASE=upstream
FROM python:3.13-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285 AS upstream

# Empty unless --build-context puts a folder of certificates in its place.
FROM scratch AS certs

# hadolint ignore=DL3006
FROM ${BASE}

# Of router-requirements.txt.
ARG ROUTER_VERSION=0.1.17

# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

# Each file by its hash, and nothing else (scripts/requirements.py writes the list).
RUN --mount=type=bind,source=router-requirements.txt,target=/mnt/requirements.txt \
    --mount=type=bind,from=certs,target=/mnt/certs \
    if [ -s /mnt/certs/ca-certificates.crt ]; then \
      export PIP_CERT=/mnt/certs/ca-certificates.crt; \
    fi; \
    python3 -m pip install --root-user-action=ignore --disable-pip-version-check \
      --no-cache-dir --no-deps --require-hashes -r /mnt/requirements.txt \
 && vllm-router --help >/dev/null \
 && haproxy -v

RUN groupadd --gid 10001 router \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp router

ENV HOME=/tmp \
    PYTHONUNBUFFERED=1
# No value has a space, and SHELL is not set: BuildKit's history, where scanners of images read how
# one was made, has no quotes, and they pass over what they cannot parse.
LABEL org.opencontainers.image.title="vllm-router" \
      org.opencontainers.image.version="${ROUTER_VERSION}" \
      org.opencontainers.image.licenses="(Apache-2.0)AND(GPL-2.0-or-later)"
USER 10001:10001
EXPOSE 8080 29000
ENTRYPOINT ["vllm-router"]
