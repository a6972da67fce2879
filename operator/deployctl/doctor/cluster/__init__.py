"""Looks at a cluster: is it fit for a service, and if not, what mends it.

Probes ask the API server and fill `ClusterFacts`; checks are pure functions over them, as those of
a host. Nothing is changed; a pod is started by `pod_probe` alone, which is asked for by name.
"""
