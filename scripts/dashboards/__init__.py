"""Our Grafana dashboards, made with Grafana's own builders (grafana-foundation-sdk): a module each.

    python -m scripts.dashboards            # writes deploy/dashboards/*.json
    python -m scripts.dashboards --check    # exit 1 and a line a file when one is stale

Their queries are of the newest release that is known; operator/deployctl/render/dashboards.py makes
a service's own of them, by the names of its release. So the builders are needed here alone.
"""
