"""How long a start may take: the health check's start period and the start-up probe.

weights ÷ bandwidth + loading + compiling + capturing, with a margin. A budget that is too
short kills a pod that is still loading; one that is too long only delays the news of a
failure, so every figure is the slow end of what people report.
"""

from deployctl.units import GIB

DOWNLOAD_BYTES_S = 60e6  # a Hub download on a 1 Gbit/s line, shared
DISK_BYTES_S = 400e6  # a network disk of a cloud, or a SATA SSD
BOOT_S = 45.0  # imports, processes, CUDA context; 33 s measured for a tiny model on two cores
COMPILE_S = 60.0  # torch.compile, cold; 166 s seen for a large model, 80 s measured on two cores
COMPILE_LAYER_S = 1.5
CAPTURE_S = 0.35  # one CUDA graph
PROFILE_S = 15.0
NCCL_S = 20.0  # to bring up several ranks
MARGIN = 2.0
LEAST_S = 300  # shorter budgets than this have killed pods in the field


def budget_s(
    *,
    weight_bytes: float,
    local: bool,
    layers: int,
    graphs: int,
    eager: bool,
    world: int,
    cpu: bool,
) -> int:
    """Returns seconds from the start of the process to the first answer, at the slow end."""
    total = BOOT_S + weight_bytes / DISK_BYTES_S
    if not local:
        total += weight_bytes / DOWNLOAD_BYTES_S
    if not eager:
        total += COMPILE_S + COMPILE_LAYER_S * layers
        total += 0.0 if cpu else CAPTURE_S * graphs
    total += PROFILE_S + (NCCL_S if world > 1 else 0.0)
    if cpu:
        total += 2.0 * weight_bytes / GIB  # repacking for the CPU's kernels
    seconds = max(LEAST_S, total * MARGIN)
    return int(-(-min(seconds, 6 * 3600) // 30) * 30)
