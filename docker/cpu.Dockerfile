# The CPU serving image: vLLM's CPU build on a plain Python base, run as a user.
#
# From the public registries:
#   docker build -f docker/cpu.Dockerfile -t deployctl/vllm-cpu:0.32.0 docker
#
# From a local root, with wheels and certificates of your own:
#   docker build -f docker/cpu.Dockerfile -t deployctl/vllm-cpu:0.32.0 \
#     --build-arg BASE=my/python:3.11 --build-arg TORCH_INDEX= \
#     --build-context wheels=/opt/wheels --build-context certs=/etc/ssl/certs docker

# By digest, of all machines it is made for; whoever builds may choose another. Of this one Dependabot
# says what is newer, as it reads the first FROM and no ARG.
ARG BASE=upstream
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS upstream

# Empty unless --build-context puts a folder of wheels, or of certificates, in their place.
FROM scratch AS wheels
FROM scratch AS certs

# hadolint ignore=DL3006
FROM ${BASE}

# The CPU build of torch is not on PyPI. Empty: take it from the wheels context.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Of requirements.txt.
ARG VLLM_VERSION=0.32.0

# torch.compile writes C++ and calls this compiler when the engine starts; the engine's own
# library is linked against libnuma.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ libnuma1 \
 && rm -rf /var/lib/apt/lists/*

# Each file by its hash, and nothing else (scripts/requirements.py writes the list): torchaudio and
# torchcodec, which come as CUDA builds and break the import of transformers without CUDA, are not
# on it, nor is triton, which is 1 GB without a kernel for a CPU. The engine's own libraries are
# three quarters symbols for a debugger, 330 MB.
RUN --mount=type=bind,from=wheels,target=/mnt/wheels \
    --mount=type=bind,source=requirements.txt,target=/mnt/requirements.txt \
    --mount=type=bind,from=certs,target=/mnt/certs \
    --mount=type=cache,target=/root/.cache/pip \
    if [ -s /mnt/certs/ca-certificates.crt ]; then \
      export PIP_CERT=/mnt/certs/ca-certificates.crt; \
    fi; \
    python3 -m pip install --root-user-action=ignore --disable-pip-version-check \
      --find-links /mnt/wheels ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
      --no-deps --require-hashes -r /mnt/requirements.txt \
 && strip --strip-unneeded "$(python3 -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"/vllm/_C*.so

# Volumes mounted on these folders take their owner. The uid is the one that deployctl's Compose
# projects run as, whatever the image.
RUN groupadd --gid 10001 vllm \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp vllm \
 && install -d -o 10001 -g 10001 /cache/hub /cache/vllm

ENV HOME=/tmp \
    HF_HOME=/cache/hub \
    VLLM_CACHE_ROOT=/cache/vllm \
    PYTHONUNBUFFERED=1
# No value has a space, and SHELL is not set: BuildKit's history, where scanners of images read how
# one was made, has no quotes, and they pass over what they cannot parse.
LABEL org.opencontainers.image.title="vllm-cpu" \
      org.opencontainers.image.version="${VLLM_VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["python3", "-m", "vllm.entrypoints.openai.api_server"]
