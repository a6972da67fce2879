"""Builds the documentation as pages, into build/site: README.md is the first, docs/ the others.

    python scripts/pages.py     a dead link, or a link to a heading that is not there, is an error

What pages link to outside docs/ becomes a link to the repository, at the commit that is built. Its
name and commit are GITHUB_REPOSITORY's and GITHUB_SHA's, as a workflow has them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS, BUILD = ROOT / "docs", ROOT / "build"
# Guides in the order in which one needs them; any other comes last in the navigation.
GUIDES = {
    "Where it runs": ("docker", "kubernetes", "process", "gateway", "ubuntu"),
    "Before it runs": ("planning", "fleet", "formats", "fetch", "check", "engines", "doctor"),
    "While it runs": ("connect", "keys", "monitoring", "dashboards", "clean"),
    "How well it runs": ("loadtest", "loads", "slo", "tuning", "keep-or-roll-back"),
    "Pipelines": ("github-actions", "runners", "gitlab", "shell", "python"),
}
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))")
_MADE = re.compile(r"^<!-- Made by .*? -->\s*")
Nav = list["str | dict[str, str | Nav]"]


def main() -> int:
    """Builds the pages; the exit code is the generator's."""
    pages = BUILD / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for file in sorted(DOCS.rglob("*")):
        place = pages / file.relative_to(DOCS)
        if file.suffix == ".md":
            place.parent.mkdir(parents=True, exist_ok=True)
            # A page whose first line says what made it has its title in the second.
            place.write_text(linked(_MADE.sub("", file.read_text()), file))
        elif file.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    home = linked((ROOT / "README.md").read_text(), ROOT / "README.md")
    (pages / "index.md").write_text(f"---\nhide: [navigation]\n---\n\n{home}")
    config = BUILD / "mkdocs.yml"
    config.write_text(settings(navigation()))
    # A notice of the generator, about a successor of its own, is none of our pages.
    words = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, cwd=BUILD, env=env).returncode


def linked(text: str, file: Path) -> str:
    """A page whose links lead to pages, and to the repository for what is none."""

    def target(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        there = (file.parent / path).resolve()
        if there.is_relative_to(DOCS) and there.is_file():
            start = DOCS if file.parent == ROOT else file.parent
            return os.path.relpath(there, start) + anchor
        if there.is_relative_to(ROOT) and there.exists() and there != DOCS:
            return f"{repository()}/{there.relative_to(ROOT)}{anchor}"
        return match[0]  # dead: the generator says so

    return _LINK.sub(target, text)


def repository() -> str:
    """Where the repository shows its files."""
    name = os.environ.get("GITHUB_REPOSITORY", "OWNER/deployctl")
    return f"https://github.com/{name}/blob/{os.environ.get('GITHUB_SHA', 'main')}"


def navigation() -> Nav:
    """Every page, by its path; its first heading is its name."""
    known = {name for names in GUIDES.values() for name in names}
    more = [name for name in _names("guides") if name not in known]
    groups = {**GUIDES, **({"More": tuple(more)} if more else {})}
    guides: Nav = [{title: [f"guides/{n}.md" for n in names]} for title, names in groups.items()]
    return [
        {"Home": "index.md"},
        {"Guides": guides},
        {"Reference": [f"reference/{name}.md" for name in _names("reference")]},
        {"Runbooks": ["runbooks/README.md", *(f"runbooks/{n}.md" for n in _names("runbooks"))]},
        {"Glossary": "glossary.md"},
    ]


def _names(folder: str) -> list[str]:
    return sorted(file.stem for file in (DOCS / folder).glob("*.md") if file.stem != "README")


def settings(nav: Nav) -> str:
    """What the generator is told beside mkdocs.yml: where everything is."""
    more: dict[str, object] = {"INHERIT": str(ROOT / "mkdocs.yml"), "nav": nav}
    more |= {"docs_dir": "pages", "site_dir": "site"}
    name = os.environ.get("GITHUB_REPOSITORY", "")
    if name:
        owner, _, project = name.partition("/")
        more |= {"repo_url": f"https://github.com/{name}", "repo_name": name}
        more |= {"site_url": f"https://{owner.lower()}.github.io/{project}/"}
    return json.dumps(more, indent=2)  # which is YAML


if __name__ == "__main__":
    sys.exit(main())
