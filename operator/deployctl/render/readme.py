"""The page beside a rendered Compose project: how to start it and where its secrets go.

Not part of the bundle: a better sentence here must not make anything run anew.
"""

from string import Template

from deployctl import assets
from deployctl.planning.plan import ServingPlan
from deployctl.render.compose import SECRETS_FOLDER, UID
from deployctl.spec import ServiceSpec

_KEY = """\
The API key, which this service requires of its clients and refuses to start without:

```console
openssl rand -hex 32 > {folder}/api_key
chmod 444 {folder}/api_key
```
"""
_OPTIONAL_KEY = """\
To require an API key of clients, write one to `{folder}/api_key`.
"""
_GATED = """\
For a gated or private model, write a Hub token to `{folder}/hf_token`.
"""


def compose_readme(plan: ServingPlan, spec: ServiceSpec) -> str:
    """Writes the README.md of a rendered Compose project."""
    keyed = spec.needs_api_key
    parts = [_KEY if keyed else _OPTIONAL_KEY, "" if plan.model_local else _GATED]
    template = assets.path("deploy", "compose", "project.md").read_text(encoding="utf-8")
    return Template(template).substitute(
        service=plan.name,
        version=plan.engine.version,
        served=plan.served_model_name.replace("`", "'"),
        budget=spec.startup_timeout or plan.startup_budget_s,
        url=f"http://127.0.0.1:{spec.port}",
        header=f' -H "Authorization: Bearer $(cat {SECRETS_FOLDER}/api_key)"' if keyed else "",
        secrets="\n".join(filter(None, parts)).format(folder=SECRETS_FOLDER),
        needs="\n".join(f"- {line}" for line in _needs(plan)),
    )


def _needs(plan: ServingPlan) -> list[str]:
    lines = ["Docker Engine with the Compose plugin, 2.20 or newer.", _image(plan)]
    if plan.accelerator == "cuda":
        count = plan.tensor_parallel_size * plan.pipeline_parallel_size
        cards = "one NVIDIA card" if count == 1 else f"{count} NVIDIA cards"
        lines.append(f"{cards} ({plan.gpu}), NVIDIA's driver and its container toolkit.")
    if plan.model_local:
        folder = plan.model.replace("`", "'")
        lines.append(
            f"The checkpoint in `{folder}` on the Docker host, readable by uid {UID} and without "
            "links that lead out of the folder."
        )
    else:
        lines.append("The way to the Hub, for the first start; the volume `hub` keeps the model.")
    return lines


def _image(plan: ServingPlan) -> str:
    image = plan.engine.image
    if plan.accelerator == "cpu":
        return f"The image `{image}`, built from deployctl's `docker/cpu.Dockerfile`."
    return f"The image `{image}`, which Compose pulls."
