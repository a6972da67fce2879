# Prometheus for tests, from Debian's package, without the node exporter that it recommends.
ARG BASE=debian:trixie-slim
# hadolint ignore=DL3006
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/bin/promtool
USER 10001:10001
ENTRYPOINT ["prometheus"]
