"""Memory refusals."""

from collections.abc import Iterator

from deployctl.errors import Reason
from deployctl.planning import overflow
from deployctl.planning.budget import CONTEXT_GIB, Memory
from deployctl.planning.context import ContextChoice
from deployctl.planning.overflow import held
from deployctl.spec import ServiceSpec
from deployctl.spec.service import HOSTS
from deployctl.units import GIB


def refusals(choice: ContextChoice) -> Iterator[Reason]:
    """Refuses what the memory does not hold. Where the fix is empty, `fixes` finds it."""
    profile, users = choice.planner.profile, choice.planner.spec.users
    memory = choice.memory
    settings, stage = memory.settings, memory.tightest
    if profile.kind == "cpu":
        yield from _host(memory, choice.planner.spec)
    elif memory.load_peak > memory.free - CONTEXT_GIB * GIB:
        yield Reason(
            "weights_too_large",
            f"the weights take {memory.load_peak / GIB:.1f} GiB while they load; "
            f"{profile.title} has {memory.free / GIB:.1f} GiB{held(memory)}",
            "",
        )
        return
    elif memory.overflow() > 0:
        yield overflow.refusal(choice.planner, memory)
    if stage.pool <= 0:
        yield Reason(
            "weights_too_large",
            f"weights ({stage.weights / GIB:.1f} GiB) and working memory "
            f"({(stage.non_torch + stage.activation) / GIB:.1f} GiB) leave nothing of "
            f"{memory.requested / GIB:.1f} GiB for the KV cache",
            "",
        )
        return
    if not memory.fits:
        longest = min(memory.longest, settings.length)
        yield Reason(
            "kv_cache_too_small",
            f"one request of {settings.length} tokens needs {memory.request_bytes / GIB:.2f} GiB "
            f"of KV cache{' in FP8' if choice.fp8 else ''}; {stage.pool / GIB:.2f} GiB are left. "
            f"The longest context that fits is {longest} tokens" + _least(choice),
            "",
        )
    elif users is not None and memory.concurrency < users:
        yield Reason(
            "kv_cache_too_small",
            f"the KV cache holds {memory.concurrency:.1f} requests of "
            f"{settings.length} tokens at once; {users} were asked for" + _least(choice),
            "",
        )


def _least(choice: ContextChoice) -> str:
    """Why this context was planned, where nobody asked for it."""
    if not choice.chosen or choice.planner.limit <= choice.planner.least:
        return ""
    return f", and less than {choice.planner.least} is not chosen (--min-model-len)"


def _host(memory: Memory, spec: ServiceSpec) -> Iterator[Reason]:
    """All that run on it: a process for each part of the model, and of each replica on a host."""
    stage, replicas = memory.tightest, (spec.replicas or 1) if spec.target in HOSTS else 1
    each = stage.weights * 1.2 + max(0.0, stage.pool) + 2 * GIB
    needed = each * memory.settings.sharding.gpus * replicas
    if needed > memory.total:
        of = f"{replicas} replicas" if replicas > 1 else "the engine"
        yield Reason(
            "weights_too_large",
            f"weights, KV cache and {of} need about {needed / GIB:.1f} GiB of "
            f"memory; this host has {memory.total / GIB:.1f} GiB",
            "use a smaller model, or less --kv-cache-gib"
            + (", or fewer --replicas" if replicas > 1 else ""),
        )


def large_enough(memory: Memory) -> str:
    """How large a card would have to be, where no profile is."""
    missing = memory.request_bytes - min(memory.pool, memory.request_bytes)
    total = max((memory.requested + missing) / memory.settings.utilization, memory.load_peak)
    return f"a card of {int(total / GIB) + 1} GiB"
