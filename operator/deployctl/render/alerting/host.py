"""The machines that services are on: memory, disks, cards, the certificates of what is before them,
and whether rules of ours are evaluated.

Of machines, not of a service: one set a Prometheus, however many services it looks at. It reads
node-exporter, dcgm-exporter, blackbox-exporter and Prometheus itself; where one of them is not
scraped, none of its alerts fires.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from deployctl.promql import (
    Arithmetic,
    Expression,
    FunctionCall,
    LabelMatcher,
    Literal,
    Selector,
    Subquery,
)
from deployctl.promql.write import above, both, compare, greatest, over, past, ratio, times
from deployctl.render.alerting.scope import DAY, HOUR, MINUTE, NUMBER, SHARE, Scope

_HOT = 85  # degrees Celsius: data-centre cards slow down from 85 to 92
# Of a certificate: clients are about to refuse it, and the share of its life that is left of one
# that should have been renewed. Caddy and cert-manager ask for another when a third is left.
_ENDS, _LATE = 2 * HOUR, 0.25
_SEEN = 30 * DAY  # how far back it is looked for when a certificate was new
_TIGHT, _ROOM = 0.05, 0.3  # shares that are left: next to nothing, and no reason to look ahead
_CARD = ("instance", "Hostname", "gpu", "UUID")  # without the pod, which changes with a rollout
_WHERE = "card {{ $labels.gpu }} of {{ or $labels.Hostname $labels.instance }}"
PROBES = "deployctl_certificates"  # the job of probes that look at them; no service's
# What NVIDIA's list of XIDs lays to a program, or to one that was ended; others are the card's.
_PROGRAMS = (13, 31, 43, 45)
# Nobody keeps a cache there, or it is a view of what is elsewhere.
_NO_DISK = LabelMatcher("fstype", "!~", "tmpfs|ramfs|overlay|squashfs|iso9660|nsfs|autofs|fuse.*")


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """All of them."""
    yield from _memory(scope)
    yield from _disk(scope)
    yield from _cards(scope)
    yield from _certificates(scope)
    failures = scope.series.around(
        "prometheus_rule_evaluation_failures_total",
        LabelMatcher("rule_group", "=~", ".*deployctl-.*"),
    )
    span = scope.window(15 * MINUTE)
    yield scope.alert(
        "DeployctlRulesFailing",
        above(greatest(over("increase", failures, span), "instance", "rule_group"), 0),
        wait=5 * MINUTE,
        severity="warning",
        summary=f"{{{{ $labels.rule_group }}}} could not be evaluated {NUMBER} times within "
        f"{span}: its alerts do not fire",
    )


def _memory(scope: Scope) -> Iterator[dict[str, Any]]:
    free, whole = (scope.series.around(f"node_memory_Mem{n}_bytes") for n in ("Available", "Total"))
    left = ratio(free, whole)
    yield scope.alert(
        "HostMemoryGrowing",
        compare(left, "<", _TIGHT),
        wait=5 * MINUTE,
        severity="critical",
        summary=f"{SHARE} of the memory of {{{{ $labels.instance }}}} is left: the kernel is about "
        "to end what is largest, which is the engine",
    )
    yield scope.alert(
        "HostMemoryGrowing",
        both(compare(left, "<", _ROOM), _used_up(scope, free, 12 * HOUR)),
        wait=90 * MINUTE,
        severity="warning",
        summary=f"{SHARE} of the memory of {{{{ $labels.instance }}}} is left, and at the pace of "
        f"the last {scope.span(6 * HOUR)} none in {scope.span(12 * HOUR)}",
    )


def _disk(scope: Scope) -> Iterator[dict[str, Any]]:
    free, whole = (
        scope.series.around(f"node_filesystem_{n}_bytes", _NO_DISK) for n in ("avail", "size")
    )
    left = ratio(free, whole)
    where = "{{ $labels.mountpoint }} of {{ $labels.instance }}"
    yield scope.alert(
        "HostDiskFilling",
        compare(left, "<", _TIGHT),
        wait=5 * MINUTE,
        severity="critical",
        summary=f"{SHARE} of {where} is left: caches and downloads are about to fail",
    )
    yield scope.alert(
        "HostDiskFilling",
        both(compare(left, "<", _ROOM), _used_up(scope, free, DAY)),
        wait=90 * MINUTE,
        severity="warning",
        summary=f"{SHARE} of {where} is left, and at the pace of the last {scope.span(6 * HOUR)} "
        f"none in {scope.span(DAY)}",
    )


def _used_up(scope: Scope, free: Selector, within: int) -> Expression:
    """That nothing is left soon, at the pace of six hours, and of the last one: a download that has
    ended goes on in neither."""

    def gone(window: int) -> Expression:
        ahead = Literal(f"{scope.seconds(within):g}")
        seen = over("predict_linear", free, scope.window(window))
        return compare(FunctionCall(seen.name, (*seen.arguments, ahead)), "<", 0)

    return both(both(gone(6 * HOUR), gone(HOUR)), above(past(free, scope.window(6 * HOUR)), 0))


def _cards(scope: Scope) -> Iterator[dict[str, Any]]:
    def card(name: str) -> Selector:
        return scope.series.around(f"DCGM_FI_DEV_{name}")

    span, day = scope.window(15 * MINUTE), scope.window(DAY)
    yield scope.alert(
        "GpuHot",
        above(greatest(over("min_over_time", card("GPU_TEMP"), span), *_CARD), _HOT),
        wait=5 * MINUTE,
        severity="warning",
        summary=f"{_WHERE} has been at {NUMBER} °C or more for {span}: it slows down",
    )
    last = greatest(card("XID_ERRORS"), *_CARD)
    ours: Expression = above(last, 0)
    for number in _PROGRAMS:
        ours = compare(ours, "!=", number)
    before = greatest(past(card("XID_ERRORS"), scope.window(HOUR)), *_CARD)
    yield scope.alert(
        "GpuXid",
        Arithmetic("unless", ours, Arithmetic("==", last, before)),
        wait=0,
        severity="critical",
        summary=f"{_WHERE} reported XID {NUMBER}",
    )
    free, used = (greatest(card(f"FB_{name}"), *_CARD) for name in ("FREE", "USED"))
    yield scope.alert(
        "GpuMemoryFull",
        compare(ratio(free, Arithmetic("+", free, used)), "<", 0.01),
        wait=15 * MINUTE,
        severity="warning",
        summary=f"{SHARE} of the memory of {_WHERE} is free: something beside the engine uses it",
    )
    remapped = greatest(over("increase", card("UNCORRECTABLE_REMAPPED_ROWS"), day), *_CARD)
    failed = greatest(card("ROW_REMAP_FAILURE"), *_CARD)
    yield scope.alert(
        "GpuMemoryErrors",
        Arithmetic("or", above(remapped, 0), above(failed, 0)),
        wait=0,
        severity="critical",
        summary=f"{_WHERE} had {NUMBER} uncorrectable errors of memory within {day}, or cannot "
        "replace what is broken",
    )
    busiest = greatest(over("max_over_time", card("GPU_UTIL"), day), *_CARD)
    was_there = greatest(past(card("GPU_UTIL"), day), *_CARD)
    yield scope.alert(
        "GpuIdle",
        both(compare(busiest, "<", 1), compare(was_there, ">=", 0)),
        wait=HOUR,
        severity="warning",
        summary=f"{_WHERE} has been used to {NUMBER}% at most for {day}, and is paid for",
    )


def _certificates(scope: Scope) -> Iterator[dict[str, Any]]:
    """Those that a probe from outside saw. How long one lives nobody tells, but for how long it was
    to live when it was first seen."""
    ends = scope.series.around("probe_ssl_earliest_cert_expiry")
    left = Arithmetic("-", ends, FunctionCall("time", ()))
    same = Arithmetic("==", ends, replace(ends, at="@ end()"))
    lives = Arithmetic("-", same, FunctionCall("time", ()))
    seen = Subquery(lives, f"{scope.window(_SEEN)}:{scope.window(HOUR)}")
    life = FunctionCall("max_over_time", (seen,))
    what = "the certificate of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}"
    yield scope.alert(
        "CertificateExpiring",
        compare(left, "<", scope.seconds(_ENDS)),
        wait=5 * MINUTE,
        severity="critical",
        summary=f"{what}: clients are about to refuse it",
    )
    yield scope.alert(
        "CertificateExpiring",
        Arithmetic("<", left, times(_LATE, life)),
        wait=HOUR,
        severity="warning",
        summary=f"{what}, and is not renewed",
    )
    # An exporter that does not answer gives no series of its own; `up` is there all the same.
    ours = LabelMatcher("job", "=", PROBES)
    yield scope.alert(
        "CertificateProbeFailing",
        compare(scope.series.around("probe_success", ours), "==", 0),
        wait=5 * MINUTE,
        severity="critical",
        summary="no client gets a TLS connection to {{ $labels.instance }}",
    )
    yield scope.alert(
        "CertificateProbeFailing",
        compare(scope.series.beside("up", ours), "==", 0),
        wait=15 * MINUTE,
        severity="warning",
        summary="nobody looks at the certificate of {{ $labels.instance }}",
    )
