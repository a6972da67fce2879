"""A scheduled double of vLLM's engine core: computes nothing, and says one token over and over.

It speaks as a core of vLLM 0.32 does (vllm/v1/engine/core.py, EngineCoreProc): a request comes in
by ZMQ, the outputs of a step go back together. The first token of a request comes FIRST_S after it;
from then on each step gives one to every request that runs, as an engine's does.
"""

import os
import time
from collections import deque

import zmq
from benchmarks.door.app import FIRST_S
from vllm.v1.engine import (
    EngineCoreEvent,
    EngineCoreEventType,
    EngineCoreOutput,
    EngineCoreOutputs,
    EngineCoreRequest,
    EngineCoreRequestType,
    FinishReason,
    UtilityOutput,
    UtilityResult,
)
from vllm.v1.metrics.stats import PrefillStats, SchedulerStats
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

_IDENTITY = (0).to_bytes(2, "little")  # of the only core
_IDLE_S = 1.0  # after which it looks whether its API server lives


class Core:
    """What is under way, and when the next of it is due. Times are of time.monotonic."""

    def __init__(self, interval_s: float, token: int) -> None:
        self._interval_s = interval_s
        self._token = token
        self._waiting: deque[tuple[float, EngineCoreRequest]] = deque()  # for their first token
        self._left: dict[str, int] = {}  # tokens that a running request gets yet
        self._step_at = 0.0

    def add(self, request: EngineCoreRequest, now: float) -> None:
        """A request came in."""
        self._waiting.append((now, request))

    def abort(self, requests: list[str]) -> None:
        """Nobody wants these any more."""
        gone = set(requests)
        self._waiting = deque(each for each in self._waiting if each[1].request_id not in gone)
        for request in gone:
            self._left.pop(request, None)

    def due(self) -> float | None:
        """When there is something to say next; None: nothing is under way."""
        moments = [self._step_at] if self._left else []
        if self._waiting:
            moments.append(self._waiting[0][0] + FIRST_S)
        return min(moments, default=None)

    def step(self, now: float) -> EngineCoreOutputs:
        """What is due by now."""
        outputs = []
        if self._left and self._step_at <= now:
            outputs += [self._output(request) for request in list(self._left)]
            self._step_at = max(self._step_at, now - self._interval_s) + self._interval_s
        while self._waiting and self._waiting[0][0] + FIRST_S <= now:
            outputs.append(self._first(*self._waiting.popleft(), now))
        stats = SchedulerStats(num_running_reqs=len(self._left), num_waiting_reqs=0)
        return EngineCoreOutputs(outputs=outputs, scheduler_stats=stats)

    def _first(self, came: float, request: EngineCoreRequest, now: float) -> EngineCoreOutput:
        if not self._left:
            self._step_at = now + self._interval_s
        self._left[request.request_id] = request.sampling_params.max_tokens
        output = self._output(request.request_id)
        kinds = EngineCoreEventType.QUEUED, EngineCoreEventType.SCHEDULED
        output.events = [EngineCoreEvent.new_event(kind, came) for kind in kinds]
        output.prefill_stats = PrefillStats()
        output.prefill_stats.set(len(request.prompt_token_ids or ()), 0, 0)
        return output

    def _output(self, request: str) -> EngineCoreOutput:
        self._left[request] -= 1
        reason = None
        if self._left[request] <= 0:
            reason = FinishReason.LENGTH
            del self._left[request]
        return EngineCoreOutput(request, [self._token], finish_reason=reason)


def serve(input_address: str, output_address: str, core: Core) -> None:
    """Is the core of the API server that listens at these addresses, while that lives."""
    parent = os.getppid()
    context = zmq.Context()
    asked, told = context.socket(zmq.DEALER), context.socket(zmq.PUSH)
    asked.setsockopt(zmq.IDENTITY, _IDENTITY)
    for socket, address in ((asked, input_address), (told, output_address)):
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.connect(address)
    asked.send(b"")  # ready, and nothing in the configuration has changed
    encoder = MsgpackEncoder()
    while os.getppid() == parent:
        due = core.due()
        wait_s = _IDLE_S if due is None else min(_IDLE_S, max(0.0, due - time.monotonic()))
        if asked.poll(1e3 * wait_s):
            answer = _heard(core, *asked.recv_multipart())
            if answer is not None:
                told.send_multipart(encoder.encode(answer))
        due = core.due()
        if due is not None and due <= time.monotonic():
            told.send_multipart(encoder.encode(core.step(time.monotonic())))


_REQUESTS, _OTHERS = MsgpackDecoder(EngineCoreRequest), MsgpackDecoder()


def _heard(core: Core, kind: bytes, *frames: bytes) -> EngineCoreOutputs | None:
    """Takes one message in; returns what is to be answered at once."""
    if kind == EngineCoreRequestType.ADD.value:
        core.add(_REQUESTS.decode(frames), time.monotonic())
    elif kind == EngineCoreRequestType.ABORT.value:
        core.abort(_OTHERS.decode(frames))
    elif kind == EngineCoreRequestType.UTILITY.value:
        _, call, method, _ = _OTHERS.decode(frames)
        result = ("generate",) if method == "get_supported_tasks" else None
        return EngineCoreOutputs(utility_output=UtilityOutput(call, result=UtilityResult(result)))
    return None
