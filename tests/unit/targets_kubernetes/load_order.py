"""A load in pods, as the tests of its parts have it ordered."""

from deployctl.targets.loads import LoadOrder

ORDER = LoadOrder(
    name="chat",
    image="deployctl/loadtest:1",
    url="http://chat.llm.svc:8000",
    workers=2,
    options=("--users=2",),
    files={"trace": b"t" * 10},
    secrets={"DEPLOYCTL_LOADTEST_API_KEY": "s3cret"},
    lasts_s=60.0,
    service="chat",
)
