"""A model of an engine with continuous batching: settings and load to throughput and latencies.

It is what the synthetic surfaces are made with. Every engine step serves R running requests a
token each and, within the token budget, a chunk of some prompt:

    step = overhead + weights ÷ bandwidth + R × context × KV ÷ bandwidth + chunk × prefill

From Little's law R = rate × output tokens × step, which gives the steady state, and the capacity
where R would be more than `max_num_seqs` or than what the KV cache holds. What queues is put
through the usual formulas of a queue. What that leaves out (kernel tiles, graph sizes, prefix
caches) moves numbers, not the shapes that a search has to cope with: too small a token budget
makes prompts wait, too large a one stalls the tokens of everybody else; too few sequences leave
the card idle, too many overrun the KV cache, and are preempted.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One GPU. Sources: deploy/profiles, and `prefill_share` of the dense TFLOPS in practice."""

    memory_gib: float
    bandwidth_gb_s: float
    tflops: float
    link_gb_s: float  # between cards, one direction
    share: float = 0.5  # of bandwidth and TFLOPS that kernels reach


@dataclass(frozen=True)
class Model:
    """A checkpoint."""

    weights_gib: float
    parameters_b: float
    layers: int
    hidden: int
    kv_bytes: float  # a token


@dataclass(frozen=True)
class Traffic:
    """Tokens of a request, and its rate."""

    input: float
    output: float


@dataclass(frozen=True)
class Settings:
    """What is tuned."""

    seqs: int
    tokens: int
    tp: int = 1
    gpus: int = 1
    utilization: float = 0.9
    kv_bits: int = 16


@dataclass(frozen=True)
class State:
    """At a load. Seconds; `held` requests a second of what was asked."""

    requests_per_s: float
    output_tokens_per_s: float
    ttft_p50_s: float
    ttft_p95_s: float
    itl_p50_s: float
    itl_p95_s: float
    e2e_p50_s: float
    e2e_p95_s: float
    preemptions: float
    kv_cache_usage_max: float
    waiting_max: float


# Seconds a step takes whatever is in it: scheduler, sampling, launch of graphs. Measured figures
# for vLLM's V1 engine are 2 to 6 ms.
OVERHEAD_S = 0.003
# Two all-reduces a layer; each has a latency beside its bytes.
REDUCE_S = {True: 6e-6, False: 30e-6}  # over NVLink, over PCIe
FAST_LINK = 100.0  # GB/s


class Engine:
    """One replica at one setting."""

    def __init__(self, card: Card, model: Model, traffic: Traffic, given: Settings) -> None:
        self.card, self.model, self.traffic, self.given = card, model, traffic, given
        tp = given.tp
        bandwidth = card.bandwidth_gb_s * 1e9 * card.share * tp
        self.weights_s = model.weights_gib * 2**30 / bandwidth
        reduce = 0.0
        self.token_s = 0.0
        if tp > 1:
            reduce = 2 * model.layers * REDUCE_S[card.link_gb_s >= FAST_LINK]
            bytes_a_token = 2 * model.layers * model.hidden * 2 * 2 * (tp - 1) / tp
            self.token_s = bytes_a_token / (card.link_gb_s * 1e9 * 0.7)
        self.prefill_s = 2 * model.parameters_b * 1e9 / (card.tflops * 1e12 * card.share * tp)
        self.prefill_s += self.token_s
        context = traffic.input + traffic.output / 2
        kv = model.kv_bytes * given.kv_bits / 16
        self.decode_s = context * kv / bandwidth + self.prefill_s * 0.3 + 4e-6
        self.base_s = OVERHEAD_S + self.weights_s + reduce
        # Activations grow with the token budget, logits and sampler with sequences.
        self.free_gib = (
            card.memory_gib * given.utilization * tp
            - model.weights_gib
            - tp * (1.0 + given.tokens * 0.00008 + given.seqs * 0.0012)
        )
        self.cache_tokens = max(0.0, self.free_gib * 2**30 / kv)
        self.fits = self.cache_tokens / (traffic.input + traffic.output)  # requests at once

    @property
    def starts(self) -> bool:
        """Whether the KV cache holds a few requests."""
        return self.fits >= 2

    def step_s(self, running: float) -> float:
        """Without prompts."""
        return self.base_s + running * self.decode_s

    def _running_max(self) -> tuple[float, float]:
        """Requests at once, and the share of work that preemptions waste at that."""
        # Requests are admitted while their prompts fit, and grow: what then does not fit is
        # preempted and computed again.
        admitted = self.cache_tokens / (self.traffic.input + self.traffic.output / 2)
        if self.given.seqs <= self.fits:
            return self.given.seqs, 0.0
        over = min(1.0, (min(self.given.seqs, admitted) - self.fits) / max(1.0, self.fits))
        return min(self.given.seqs, admitted), min(0.45, 1.6 * over)

    def capacity(self) -> float:
        """Requests a second of one replica."""
        traffic = self.traffic
        most, waste = self._running_max()
        most = min(most, self.given.tokens - 1.0)
        # One request takes this much of the engine, beside its share of the steps' base.
        work = traffic.input * self.prefill_s + traffic.output * self.decode_s
        # At `most` running: rate × output × step = most, step = base ÷ (1 − rate × work).
        rate = most / (traffic.output * self.base_s + most * work)
        # Prompts also need steps that have room for them.
        room = max(1.0, self.given.tokens - most)
        steps = traffic.input / room
        rate = min(rate, 1 / (steps * (self.base_s + most * self.decode_s) / 1.6 + work))
        return rate * (1 - waste)

    def at(self, rate: float) -> State:
        """One replica at a rate, requests a second."""
        traffic, given = self.traffic, self.given
        capacity = self.capacity()
        load = rate / capacity
        served = min(rate, capacity)
        most, waste = self._running_max()
        work = traffic.input * self.prefill_s + traffic.output * self.decode_s
        step = self.base_s / max(0.02, 1 - served * work)
        running = min(most, served * traffic.output * step)
        decode = self.step_s(running)
        room = max(16.0, given.tokens - running)
        chunk = min(room, traffic.input)
        pieces = traffic.input / chunk
        stalled = decode + chunk * self.prefill_s
        busy = min(1.0, served * pieces * step)
        # Prompts that come during a step are Poisson: 1.645 standard deviations above the mean
        # is about their 95th percentile. More than the budget wait for the next step.
        come = served * step
        many = min(room, (come + 1.645 * math.sqrt(come)) * traffic.input)
        some = min(room, max(0.0, come - 0.25) * traffic.input)
        itl50 = decode + some * self.prefill_s
        itl95 = decode * 1.08 + many * self.prefill_s
        pressure = running / most
        if waste:
            itl95 *= 1 + 6 * waste * max(0.0, pressure - 0.8)
        near = min(load, 0.995)
        queue = pieces * stalled * busy / max(0.02, 2 * (1 - near * 0.9))
        slots = (near**12) * running / max(1.0, most) * step * traffic.output / 12
        slots *= 1 / max(0.01, 1 - near) / 8
        ttft50 = pieces * stalled + queue * 0.6 + slots * 0.5
        ttft95 = pieces * stalled * 1.35 + queue * 2.6 + slots * 2.5
        if load > 1:
            ttft50 += 30 * (load - 1)
            ttft95 += 57 * (load - 1)
        e2e50 = ttft50 + traffic.output * step * 0.95
        e2e95 = ttft95 + traffic.output * step * 1.35
        usage = min(
            1.0, running * (traffic.input + traffic.output / 2) / max(1.0, self.cache_tokens)
        )
        return State(
            requests_per_s=served,
            output_tokens_per_s=served * traffic.output,
            ttft_p50_s=ttft50,
            ttft_p95_s=ttft95,
            itl_p50_s=itl50,
            itl_p95_s=max(itl95, itl50 * 1.02),
            e2e_p50_s=e2e50,
            e2e_p95_s=e2e95,
            preemptions=60 * served * waste * max(0.0, pressure - 0.7) * 3,
            kv_cache_usage_max=min(1.0, usage * 1.15),
            waiting_max=60 * max(0.0, rate - capacity) + 4 * max(0.0, near - 0.8) * served,
        )

    def with_users(self, users: float) -> State:
        """One replica in a closed loop: the rate at which so many users wait for an answer each."""
        low, high = 0.0, self.capacity()
        for _ in range(50):
            middle = (low + high) / 2
            state = self.at(middle) if middle else None
            inside = 0.0
            if state is not None:
                inside = middle * (state.ttft_p50_s * 1.1 + state.e2e_p50_s - state.ttft_p50_s)
            low, high = (middle, high) if inside < users else (low, middle)
        rate = max(low, 1e-6)
        state = self.at(rate * 0.999)
        # Whoever is more than the engine runs at once waits for a place.
        wait = max(0.0, users / rate - state.e2e_p50_s)
        extra = math.copysign(wait, 1)
        return State(
            **{
                **state.__dict__,
                "ttft_p50_s": state.ttft_p50_s + extra,
                "ttft_p95_s": state.ttft_p95_s + extra * 1.15,
                "e2e_p50_s": state.e2e_p50_s + extra,
                "e2e_p95_s": state.e2e_p95_s + extra * 1.15,
            }
        )
