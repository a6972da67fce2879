# The parts of `up --with-monitoring` for tests, an image each: Prometheus, Alertmanager and
# exporters of Debian, and a Grafana that is a fake: it says that it is well, and no more.
ARG BASE=python:3.11-slim-trixie
# hadolint ignore=DL3006
FROM ${BASE} AS parts
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
    prometheus prometheus-alertmanager prometheus-node-exporter prometheus-blackbox-exporter \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/bin/promtool \
 && install -d -o 65534 -g 65534 /prometheus /alertmanager \
 && install -d -o 472 /var/lib/grafana

FROM parts AS prometheus
ENTRYPOINT ["prometheus"]

FROM parts AS alertmanager
ENTRYPOINT ["prometheus-alertmanager"]

FROM parts AS node-exporter
ENTRYPOINT ["prometheus-node-exporter"]

FROM parts AS blackbox-exporter
ENTRYPOINT ["prometheus-blackbox-exporter"]

FROM parts AS grafana
COPY fake_grafana.py /usr/local/lib/fake_grafana.py
ENTRYPOINT ["python3", "/usr/local/lib/fake_grafana.py"]
