"""What a person pastes to use a service: curl, Python, Open WebUI, LiteLLM, Continue. Pure.

A key is never in what is pasted, only where it is read from; and no command has it among its
words, where every user of the machine would see it.
"""

import json
import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

_QUESTION = "Say hello in one sentence."
_VARIABLE = "VLLM_API_KEY"
_OPEN_WEBUI = "openwebui/open-webui:main"
# What it trusts, https://docs.openwebui.com/tutorials/integrations/custom-ca: its libraries take a
# file alone, without those that are public. The image starts with `bash start.sh`.
_TRUSTED = "/tmp/ca.crt"  # noqa: S108  inside the container
_BESIDE_PUBLIC = 'cat "$(python -m certifi)" /root.crt > "$SSL_CERT_FILE" && exec bash start.sh'
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]")


class Way(NamedTuple):
    """How clients of one place reach a service."""

    base_url: str  # …/v1
    model: str
    key_file: str | None = None  # where the key is; None where none is wanted, or none is there
    tasks: Collection[str] = ("generate",)  # of the engine: planning.tasks
    ca_file: str | None = None  # what verifies its certificate; None where the system's do


class Snippet(NamedTuple):
    """Something to paste."""

    name: str
    kind: str  # of the text: sh, python or yaml
    file: str | None  # where it goes, where that is a file
    text: str


def snippets(way: Way) -> list[Snippet]:
    """All that suit what the service does."""
    made = [
        Snippet("curl", "sh", None, _curl(way)),
        Snippet("environment", "sh", None, _environment(way)),
    ]
    if "generate" in way.tasks or "embed" in way.tasks:
        made.append(Snippet("Python", "python", None, _python(way)))
    if "generate" in way.tasks:
        made.append(Snippet("Open WebUI", "sh", None, _open_webui(way)))
    if "generate" in way.tasks or "embed" in way.tasks:
        made.append(Snippet("LiteLLM", "yaml", "config.yaml", _litellm(way)))
        made.append(Snippet("Continue", "yaml", "~/.continue/config.yaml", _continue(way)))
        if way.key_file:
            line = f'printf "{_VARIABLE}=%s\\n" "{_key(way)}" >> ~/.continue/.env'
            made.append(Snippet("Continue's key", "sh", None, line))
    return made


def _text(text: str) -> str:
    """As Python and YAML both read it. Not in ASCII: what JSON makes of an emoji neither knows."""
    return json.dumps(text, ensure_ascii=False)


def curl(
    url: str,
    body: object = None,
    *,
    key_file: Path | str | None = None,
    ca_file: Path | str | None = None,
) -> list[str]:
    """A request as pieces of a command: of `body`, or a GET. curl reads the key's header from a
    pipe."""
    trust = ["--cacert", str(ca_file)] if ca_file else []
    pieces = [shlex.join(["curl", *trust, url])]
    if key_file:
        header = f"sed 's/^/Authorization: Bearer /' {shlex.quote(str(key_file))}"
        pieces = [f"{header} |", *pieces, "-H @-"]
    if body is not None:
        data = shlex.quote(json.dumps(body, ensure_ascii=False))
        pieces += ["-H 'Content-Type: application/json'", f"-d {data}"]
    return pieces


def _curl(way: Way) -> str:
    path, body = "models", None
    if "generate" in way.tasks:
        messages = [{"role": "user", "content": _QUESTION}]
        body = {"model": way.model, "messages": messages, "max_tokens": 64}
        path = "chat/completions"
    elif "embed" in way.tasks:
        path, body = "embeddings", {"model": way.model, "input": _QUESTION}
    url = f"{way.base_url}/{path}"
    return " \\\n  ".join(curl(url, body, key_file=way.key_file, ca_file=way.ca_file))


def _key(way: Way) -> str:
    """The shell's word for the key, in double quotes."""
    return f"$(cat {shlex.quote(way.key_file)})" if way.key_file else "none"


def _environment(way: Way) -> str:
    return f'export OPENAI_BASE_URL={shlex.quote(way.base_url)} OPENAI_API_KEY="{_key(way)}"'


def _python(way: Way) -> str:
    key = f"Path({_text(way.key_file)}).read_text().strip()" if way.key_file else '"none"'
    model = _text(way.model)
    imported, more = ["OpenAI"], ""
    standard = ["from pathlib import Path"] if way.key_file else []
    if way.ca_file:
        imported.insert(0, "DefaultHttpxClient")
        standard.insert(0, "import ssl")
        trust = f"ssl.create_default_context(cafile={_text(way.ca_file)})"
        more = f", http_client=DefaultHttpxClient(verify={trust})"
    head = [f"from openai import {', '.join(imported)}  # pip install openai", ""]
    head.append(f"client = OpenAI(base_url={_text(way.base_url)}, api_key={key}{more})")
    head = [*standard, "", *head] if standard else head
    if "generate" not in way.tasks:
        made = f"client.embeddings.create(model={model}, input={_text(_QUESTION)})"
        return "\n".join([*head, f"print(len({made}.data[0].embedding))"])
    return "\n".join(
        [
            *head,
            "answer = client.chat.completions.create(",
            f"    model={model},",
            f'    messages=[{{"role": "user", "content": {_text(_QUESTION)}}}],',
            "    max_tokens=64,",
            "    stream=True,",
            ")",
            "for part in answer:",
            "    for choice in part.choices:",
            '        print(choice.delta.content or "", end="", flush=True)',
            "print()",
        ]
    )


def _open_webui(way: Way) -> str:
    """From a container loopback is out of reach, unless it shares the machine's network."""
    here = _LOOPBACK.match(way.base_url)
    how = ["--network host -e HOST=127.0.0.1 -e PORT=3000" if here else "-p 127.0.0.1:3000:8080"]
    started = ""
    if way.ca_file:
        how.append(f"-v {shlex.quote(way.ca_file)}:/root.crt:ro")
        how.append(f"-e SSL_CERT_FILE={_TRUSTED} -e REQUESTS_CA_BUNDLE={_TRUSTED}")
        started = f" sh -c {shlex.quote(_BESIDE_PUBLIC)}"
    return " \\\n  ".join(
        [
            f'OPENAI_API_KEY="{_key(way)}" docker run -d --name open-webui',
            *how,
            f"-e OPENAI_API_BASE_URL={shlex.quote(way.base_url)} -e OPENAI_API_KEY",
            "-e ENABLE_OLLAMA_API=false -v open-webui:/app/backend/data",
            f"{_OPEN_WEBUI}{started}  # then http://127.0.0.1:3000",
        ]
    )


def _litellm(way: Way) -> str:
    """Its provider for a vLLM that others run: https://docs.litellm.ai/docs/providers/vllm."""
    key = f'{_VARIABLE}="{_key(way)}" ' if way.key_file else ""
    lines = [
        '# export LITELLM_MASTER_KEY="sk-$(openssl rand -hex 32)"',  # or it does not start
        f"# {key}litellm --config config.yaml",
        f"model_list:\n  - model_name: {_text(way.model)}",
        f"    litellm_params:\n      model: {_text(f'hosted_vllm/{way.model}')}",
        f"      api_base: {_text(way.base_url)}",
    ]
    if way.key_file:
        lines.append(f"      api_key: os.environ/{_VARIABLE}")
    if way.ca_file:
        lines.append(f"      ssl_verify: {_text(way.ca_file)}")
    return "\n".join(lines)


def _continue(way: Way) -> str:
    lines = [
        "name: deployctl\nversion: 0.0.1\nschema: v1\nmodels:",
        f"  - name: {_text(way.model)}",
        f"    provider: vllm\n    model: {_text(way.model)}",
        f"    apiBase: {_text(way.base_url)}",
    ]
    if way.key_file:
        lines.append(f"    apiKey: ${{{{ secrets.{_VARIABLE} }}}}")
    if way.ca_file:
        lines.append(f"    requestOptions: {{caBundlePath: {_text(way.ca_file)}}}")
    roles = "[chat, edit, apply]" if "generate" in way.tasks else "[embed]"
    return "\n".join([*lines, f"    roles: {roles}"])
