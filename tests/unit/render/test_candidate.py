"""A canary on a CPU and its service do not bind their threads to the same cores."""

import pytest

from deployctl.render.candidate import candidate

BIND = "VLLM_CPU_OMP_THREADS_BIND"


@pytest.mark.parametrize(
    ("gpu", "env", "bound"),
    [("cpu", {}, "nobind"), ("cpu", {BIND: "0-3"}, "0-3"), ("l4", {}, None)],
)
def test_threads_of_a_canary_beside_its_service(planned, gpu, env, bound):
    plan, spec = planned("awq", gpu, env=env)
    tried = candidate(spec, plan, "docker", port=8001, cards=None)
    assert tried.plan.engine.env.get(BIND) == bound
