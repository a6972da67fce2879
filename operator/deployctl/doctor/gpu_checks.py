"""Driver and cards: are they there, the right ones, free, and do they reach each other."""

from collections.abc import Iterator

from deployctl.doctor.detect import match, nearest
from deployctl.doctor.facts import Check, Gpus, HostFacts, Question, Topic
from deployctl.hardware import GpuProfile, nvidia
from deployctl.hardware.nvidia import Card, numbers

UTILIZATION = 0.92  # vLLM's own default: it refuses to start when less of the card is free
_NAMED = 3  # holders of memory named in a line


def gpu_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """All about GPUs; nothing for the CPU, nor for a Docker engine elsewhere."""
    gpus = facts.gpus
    if question.cpu or gpus is None or (facts.docker and facts.docker.elsewhere):
        return
    if gpus.failure:
        known = nvidia.FAILURES[gpus.failure]
        detail = known["says"] + (f": {gpus.complaint}" if gpus.failure == "other" else "")
        fix = known["fix"].format(setup=question.setup)
        yield Topic("driver", "NVIDIA driver").fail(detail, fix)
        return
    yield _driver(gpus, question)
    yield from _lost(gpus)
    yield _cards(gpus, question)
    profile = question.profile or match(gpus.cards[0].name or "")
    if profile is not None:
        yield from _fits_profile(gpus, profile)
    yield from _mig(gpus, profile)
    yield _taken(gpus, question)
    yield from _persistence(gpus)
    if len(gpus.cards) > 1:
        yield _peers(gpus, profile, question)


def _driver(gpus: Gpus, question: Question) -> Check:
    it = Topic("driver", "NVIDIA driver")
    driver = next((c.driver for c in gpus.cards if c.driver), None)
    cuda = nvidia.image_cuda(question.vllm_version)
    oldest, released = nvidia.oldest_branch(cuda), nvidia.toolkit_driver(cuda)
    wants = f"vLLM {question.vllm_version} is built with CUDA {cuda}"
    fix = f"sudo {question.setup} --driver {oldest}, then reboot"
    if driver is None:
        return it.warn(f"of unknown version; {wants}", f"{oldest} is the oldest that works")
    if numbers(driver)[0] < oldest:
        return it.fail(f"{driver} is too old: {wants}, which needs {oldest} or newer", fix)
    if numbers(driver) < numbers(released):
        return it.warn(f"{driver}; {wants}, released with {released}", fix)
    return it.good(f"{driver}, for CUDA {cuda}")


def _lost(gpus: Gpus) -> Iterator[Check]:
    if gpus.lost:
        yield Topic("gpu-lost", "Lost cards").fail(
            "the driver cannot reach " + ", ".join(gpus.lost),
            "reboot; if it comes back, check power and slot",
        )


def _cards(gpus: Gpus, question: Question) -> Check:
    it = Topic("gpus", "GPUs")
    names = [c.name or "an unnamed card" for c in gpus.cards]
    kinds = [f"{names.count(n)} × {n}" for n in dict.fromkeys(names)]
    text = ", ".join(kinds)
    if len(names) < question.gpus:
        return it.fail(f"{text}; {question.gpus} are wanted", "lower --gpus")
    if len(kinds) > 1:
        return it.warn(text, "choose one kind with CUDA_VISIBLE_DEVICES: the slowest sets the pace")
    profile = question.profile
    if profile is None:
        shipped = match(names[0])
        if shipped is None:
            near = nearest(names[0]).name
            return it.warn(
                f"{text}: no profile", f"deployctl profiles add makes one; {near} is the nearest"
            )
        return it.good(f"{text}: profile {shipped.name}")
    if names[0] not in profile.matches:
        right = match(names[0])
        fix = f"--gpu {right.name}" if right else "check that the profile describes this card"
        return it.warn(f"{text}, where profile {profile.name} was named", fix)
    return it.good(text)


def _fits_profile(gpus: Gpus, profile: GpuProfile) -> Iterator[Check]:
    """Memory and capability of each card against the profile's figures."""
    sizes = [c.usable_mib / 1024 for c in gpus.cards if c.usable_mib is not None]
    if sizes and not profile.slice:  # of a slice the driver says nothing here
        it, least = Topic("gpu-memory", "GPU memory"), min(sizes)
        text = f"{least:.2f} GiB a card; profile {profile.name} says {profile.memory_gib:.2f}"
        if least < profile.memory_gib * 0.98:
            yield it.fail(text, f"--gpu auto, or --gpu-memory-gib {least:.2f}")
        else:
            yield it.good(text)
    known = [c.compute_capability for c in gpus.cards if c.compute_capability]
    if known and profile.compute_capability:
        it, lowest = Topic("gpu-capability", "Compute capability"), min(known, key=numbers)
        if numbers(lowest) < numbers(profile.compute_capability):
            text = f"{lowest}; profile {profile.name} says {profile.compute_capability}"
            yield it.fail(text, "--gpu auto")
        else:
            yield it.good(lowest)


def _mig(gpus: Gpus, profile: GpuProfile | None) -> Iterator[Check]:
    it = Topic("mig", "Partitioning (MIG)")
    on, part = [_number(c) for c in gpus.cards if c.mig], profile.slice if profile else None
    if part and on:
        yield it.good(f"on, for GPU {', '.join(on)}")
    elif part:
        yield it.fail("off", f"sudo nvidia-smi -mig 1, then sudo nvidia-smi mig -cgi {part} -C")
    elif on:
        yield it.fail(
            f"on, for GPU {', '.join(on)}; the profile describes a whole card",
            f"sudo nvidia-smi -i {','.join(on)} -mig 0, or name a slice: --gpu CARD:SLICE",
        )


def _taken(gpus: Gpus, question: Question) -> Check:
    """vLLM starts on a card only when its share of the memory is free."""
    it = Topic("gpu-free", "Free GPU memory")
    free = [
        (c, c.memory_free_mib / c.usable_mib)
        for c in gpus.cards
        if c.memory_free_mib is not None and c.usable_mib
    ]
    if not free:
        return it.warn("the driver does not report it", "stop what else uses the GPU")
    busy = [(c, share) for c, share in free if share < UTILIZATION]
    if not busy:
        least = min(c.memory_free_mib or 0 for c, _ in free) / 1024
        return it.good(f"{least:.2f} GiB a card, nothing else runs there")
    text = "; ".join(
        f"GPU {_number(c)}: {(c.memory_free_mib or 0) / 1024:.1f} GiB free{_holders(gpus, c)}"
        for c, _ in busy
    )
    least_share = min(share for _, share in busy)
    if len(free) - len(busy) >= question.gpus:
        idle = ",".join(_number(c) for c, share in free if share >= UTILIZATION)
        return it.warn(text, f"CUDA_VISIBLE_DEVICES={idle} leaves the idle cards")
    lower = int(least_share * 100) / 100
    fix = "stop what uses it"
    if lower >= 0.3:
        fix += f", or plan with --gpu-memory-utilization {lower:.2f}"
    return it.fail(text, fix)


def _holders(gpus: Gpus, card: Card) -> str:
    apps = [a for a in gpus.apps if a.gpu_uuid is None or a.gpu_uuid == card.uuid]
    if not apps:
        return ", held by a process of another container or user"
    named = [
        f"{a.name.rsplit('/', 1)[-1] if a.name else 'unnamed'} (pid {a.pid})" for a in apps[:_NAMED]
    ]
    more = f" and {len(apps) - _NAMED} more" if len(apps) > _NAMED else ""
    return ", held by " + ", ".join(named) + more


def _persistence(gpus: Gpus) -> Iterator[Check]:
    it = Topic("persistence", "Persistence mode")
    off = [_number(c) for c in gpus.cards if c.persistence is False]
    if off:
        yield it.warn(
            f"off, for GPU {', '.join(off)}: each start waits for the card to initialize",
            "sudo systemctl enable --now nvidia-persistenced, or sudo nvidia-smi -pm 1",
        )
    elif any(c.persistence for c in gpus.cards):
        yield it.good("on")


def _peers(gpus: Gpus, profile: GpuProfile | None, question: Question) -> Check:
    it = Topic("peer-to-peer", "Peer-to-peer")
    if not gpus.peers:
        return it.warn("the driver does not report it", "nvidia-smi topo -p2p r")
    refused = sorted({cell for cell in gpus.peers.values() if cell != "OK"})
    expected = bool(profile and profile.interconnect and profile.interconnect.peer_to_peer)
    if not refused:
        return it.good("every card reaches every other")
    text = f"not between all cards ({', '.join(refused)})"
    if not expected:
        return it.good(f"{text}, as profile {profile.name} says" if profile else text)
    if question.gpus == 1:
        return it.good(f"{text}; one card is used")
    return it.warn(
        f"{text}, though profile {profile.name if profile else '?'} counts on it",
        "plan with --gpu auto, which reads it from the driver",
    )


def _number(card: Card) -> str:
    return str(card.index) if card.index is not None else "?"
