# An image for tests: it answers as vLLM does, and no model is in it. Built from tests/fake_engine.
ARG BASE=python:3.11-slim-bookworm
# hadolint ignore=DL3006
FROM ${BASE}
COPY vllm /usr/local/lib/python3.11/site-packages/vllm
