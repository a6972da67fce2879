"""Writes the reference pages that are made from the code: `--check` fails when they drifted.

python scripts/reference.py            # docs/reference/{cli,service,checks,engines,checkpoints}.md,
                                       # and the table of docs/runbooks
python scripts/reference.py --check    # exit 1 and a line a file when one is stale
"""

import re
import sys
from pathlib import Path
from typing import Any

import checkpoints
import typer.main
import vllm_changes

from deployctl.checking import RULES
from deployctl.checking.run import IGNORE_ANNOTATION
from deployctl.cli.app import VERBS, build
from deployctl.spec import ServiceSpec
from deployctl.spec.load import ENV_PREFIX
from deployctl.spec.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
RUNBOOKS = DOCS / "runbooks"
HEADER = "<!-- Made by scripts/reference.py from the code; `make docs` rewrites it. -->\n\n"
EXIT_CODES = (
    ("0", "done"),
    ("1", "a bug in deployctl"),
    ("2", "bad input or usage"),
    ("3", "refused by the plan: does not fit, or cannot run"),
    ("4", "the target failed"),
    ("5", "an SLO was missed"),
    ("130", "interrupted; nothing is left half-applied"),
)


def cli_page() -> str:
    """The command-line reference: every verb, its help and its options."""
    root: Any = typer.main.get_command(build(every=True))
    lines = [HEADER + "# The command line\n"]
    lines.append(
        "The answer goes to stdout, progress and errors to stderr. Every verb takes `--help`.\n"
    )
    lines += ["| exit code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES]
    for name, verb in VERBS.items():
        command = root.commands[name]
        lines += _section(f"## deployctl {name}", verb.summary, command)
        for part, below in getattr(command, "commands", {}).items():
            lines += _section(f"### deployctl {name} {part}", "", below)
    return "\n".join(lines) + "\n"


def _section(heading: str, summary: str, command: Any) -> list[str]:
    """One verb: its summary, its help and its options."""
    body = plain(command.help or "").strip()
    texts = [body] if body.startswith(summary) else [summary, body]
    lines = ["", heading, "", *(line for text in texts if text for line in (text, ""))]
    shown = [p for p in command.params if not getattr(p, "hidden", 0)]
    if shown:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| {spelling(p)} | {cell(p)} |" for p in shown]
    return lines


def spelling(parameter: Any) -> str:
    """How a parameter is written: `--port N`, `SERVICE`."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{o}`" for o in [*parameter.opts, *parameter.secondary_opts])


def cell(parameter: Any) -> str:
    """A parameter's help on one line of a table."""
    text = plain(getattr(parameter, "help", None) or "").replace("|", "\\|")
    return " ".join(text.split())


def plain(text: str) -> str:
    """Takes rich's markup and typer's paragraph marks out of a help text."""
    return re.sub(r"\[/?(dim|bold|cyan|italic)\]", "", text).replace("\\[", "[").replace("\b\n", "")


def service_page() -> str:
    """The spec file's keys, from ServiceSpec, and the settings of deployctl itself."""
    lines = [HEADER + "# The service file\n"]
    lines.append(
        "`-f service.yaml` holds one service a YAML document. A flag beats the environment, the\n"
        "environment beats the file, the file beats the default.\n"
    )
    lines += ["| key | variable | default | meaning |", "|---|---|---|---|"]
    for name, field in ServiceSpec.model_fields.items():
        default = "required" if field.is_required() else field.get_default()
        shown = "" if default in (None, {}) else f"`{str(default).lower()}`"
        if field.is_required():
            shown = "required"
        description = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{ENV_PREFIX}{name.upper()}` | {shown} | {description} |")
    lines += ["", "## deployctl's own settings", "", "| variable | default | meaning |"]
    lines.append("|---|---|---|")
    for name, field in Settings.model_fields.items():
        if name not in ServiceSpec.model_fields:  # those have a row above
            shown = f"`{field.default}`" if isinstance(field.default, Path) else ""
            lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def checks_page() -> str:
    """The codes of `deployctl check`, from the rules themselves."""
    groups = sorted({rule.group for rule in RULES.values()})
    lines = [HEADER + "# The rules of deployctl check\n"]
    lines.append(
        f"{len(RULES)} codes. A code is stable: `--ignore CODE` ignores it everywhere, the\n"
        f'annotation `{IGNORE_ANNOTATION}: "CODE CODE"` on one object (`x-deployctl:\n'
        "check-ignore:` in a Compose file). Errors fail the check (exit code 3), warnings only\n"
        "with `--strict`, notes never. Some findings are less severe than their code.\n"
    )
    for group in groups:
        lines += [f"## {group}", "", "| code | severity | consequence |", "|---|---|---|"]
        for code, rule in sorted(RULES.items()):
            if rule.group == group:
                lines.append(f"| `{code}` | {rule.severity.value} | {rule.consequence} |")
        lines.append("")
    return "\n".join(lines)


def runbooks_page() -> str:
    """The table of the runbooks: every alert with the first sentence of its page."""
    lines = [HEADER + "# Runbooks\n"]
    lines.append(
        "One page an alert of ours: what it means, how to check, what to do, and when it never "
        "fires. `NAME` is the service's,\nthe alert's label `service`.\n"
    )
    lines += ["| alert | what it means |", "|---|---|"]
    for page in sorted(RUNBOOKS.glob("*.md")):
        if page.name != "README.md":
            said = " ".join(page.read_text().split("\n\n")[1].split())
            meaning = re.split(r"(?<=\w[.:]) |\.$", said)[0].rstrip(".:")
            lines.append(f"| [{page.stem}]({page.name}) | {meaning} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the pages, or checks them."""
    stale = 0
    pages = {"cli": cli_page(), "service": service_page(), "checks": checks_page()}
    pages["engines"] = HEADER + vllm_changes.page(vllm_changes.Releases())
    pages["checkpoints"] = HEADER + checkpoints.page()
    files = {f"reference/{name}.md": text for name, text in pages.items()}
    for name, text in {**files, "runbooks/README.md": runbooks_page()}.items():
        page = DOCS / name
        if "--check" not in sys.argv:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text)
        elif not page.is_file() or page.read_text() != text:
            print(f"docs/{name} is stale: run make docs", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
