"""What Compose takes where: the keys of a project file, and the kind of value of each.

From the Compose Specification's schema as Docker Compose 2.26 carries it, and what newer releases
added (models, provider, use_api_socket). Keys that begin with `x-` are anybody's, everywhere.
"""

TEXT, NUMBER, SWITCH, LIST, MAPPING = "text", "a number", "true or false", "a list", "a mapping"

_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (TEXT,),
        "cgroup cgroup_parent container_name cpuset domainname hostname image ipc isolation "
        "mac_address network_mode pid platform pull_policy restart runtime stop_grace_period "
        "stop_signal user userns_mode uts working_dir",
    ),
    (
        (NUMBER, TEXT),
        "cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus "
        "mem_limit mem_reservation mem_swappiness memswap_limit oom_score_adj pids_limit scale "
        "shm_size",
    ),
    (
        (SWITCH, TEXT),
        "attach init oom_kill_disable privileged read_only stdin_open tty use_api_socket",
    ),
    (
        (LIST,),
        "cap_add cap_drop configs device_cgroup_rules devices dns_opt expose external_links "
        "group_add links ports post_start pre_stop profiles secrets security_opt volumes "
        "volumes_from",
    ),
    ((LIST, TEXT), "command dns dns_search entrypoint env_file gpus label_file tmpfs"),
    (
        (MAPPING, LIST),
        "annotations depends_on environment extra_hosts labels models networks sysctls",
    ),
    (
        (MAPPING,),
        "blkio_config credential_spec deploy develop healthcheck logging provider storage_opt "
        "ulimits",
    ),
    ((MAPPING, TEXT), "build extends"),
)
SERVICE: dict[str, tuple[str, ...]] = {key: kinds for kinds, keys in _KINDS for key in keys.split()}

_DEVICE = "capabilities count device_ids driver options"
_AMOUNTS = "cpus memory pids"
_UPDATE = "delay failure_action max_failure_ratio monitor order parallelism"
_FILE = "driver driver_opts environment external file labels name template_driver"
_USE = "gid mode source target uid"

# Keys of the mappings inside; `*` is any name, or any item of a list that is a mapping.
KEYS: dict[tuple[str, ...], frozenset[str]] = {
    path: frozenset(keys.split())
    for path, keys in {
        (): "configs include models name networks secrets services version volumes",
        ("services", "*"): " ".join(SERVICE),
        ("services", "*", "healthcheck"): "disable interval retries start_interval start_period "
        "test timeout",
        ("services", "*", "logging"): "driver options",
        ("services", "*", "build"): "additional_contexts args cache_from cache_to context "
        "dockerfile dockerfile_inline entitlements extra_hosts isolation labels network no_cache "
        "platforms privileged provenance pull sbom secrets shm_size ssh tags target ulimits",
        ("services", "*", "depends_on", "*"): "condition required restart",
        ("services", "*", "env_file", "*"): "format path required",
        ("services", "*", "ports", "*"): "app_protocol host_ip mode name protocol published target",
        ("services", "*", "volumes", "*"): "bind consistency image read_only source target tmpfs "
        "type volume",
        ("services", "*", "secrets", "*"): _USE,
        ("services", "*", "configs", "*"): _USE,
        ("services", "*", "gpus", "*"): _DEVICE,
        ("services", "*", "networks", "*"): "aliases driver_opts gw_priority interface_name "
        "ipv4_address ipv6_address link_local_ips mac_address priority",
        ("services", "*", "deploy"): "endpoint_mode labels mode placement replicas resources "
        "restart_policy rollback_config update_config",
        ("services", "*", "deploy", "resources"): "limits reservations",
        ("services", "*", "deploy", "resources", "limits"): _AMOUNTS,
        ("services", "*", "deploy", "resources", "reservations"): "cpus devices generic_resources "
        "memory",
        ("services", "*", "deploy", "resources", "reservations", "devices", "*"): _DEVICE,
        ("services", "*", "deploy", "restart_policy"): "condition delay max_attempts window",
        ("services", "*", "deploy", "update_config"): _UPDATE,
        ("services", "*", "deploy", "rollback_config"): _UPDATE,
        ("services", "*", "deploy", "placement"): "constraints max_replicas_per_node preferences",
        ("networks", "*"): "attachable driver driver_opts enable_ipv4 enable_ipv6 external "
        "internal ipam labels name",
        ("volumes", "*"): "driver driver_opts external labels name",
        ("secrets", "*"): _FILE,
        ("configs", "*"): f"{_FILE} content",
    }.items()
}
