"""The pages' links and navigation; that they are built, and no link is dead, is `./test docs`."""

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("pages", ROOT / "scripts" / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "link", "expected"),
    [
        ("README.md", "docs/guides/docker.md", "guides/docker.md"),
        ("README.md", "docs/guides/keys.md#limits", "guides/keys.md#limits"),
        ("README.md", "CONTRIBUTING.md", "https://github.com/me/it/blob/abc/CONTRIBUTING.md"),
        ("docs/guides/slo.md", "loadtest.md", "loadtest.md"),
        ("docs/guides/slo.md", "../glossary.md", "../glossary.md"),
        ("docs/guides/slo.md", "#the-gate", "#the-gate"),
        ("docs/guides/slo.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("docs/guides/slo.md", "../../test", "https://github.com/me/it/blob/abc/test"),
        ("docs/guides/slo.md", "../../docker/README.md#a", "https://github.com/me/it/blob/abc/docker/README.md#a"),
        ("docs/guides/slo.md", "no-such.md", "no-such.md"),
        ("docs/guides/slo.md", "../../../etc/passwd", "../../../etc/passwd"),
    ],
)  # fmt: skip
def test_a_link_leads_to_a_page_or_to_the_repository(site, monkeypatch, file, link, expected):
    monkeypatch.setenv("GITHUB_REPOSITORY", "me/it")
    monkeypatch.setenv("GITHUB_SHA", "abc")
    assert site.linked(f"see [it]({link}), and", ROOT / file) == f"see [it]({expected}), and"


def paths(nav):
    for entry in nav:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for value in entry.values():
                yield from paths(value if isinstance(value, list) else [value])


def test_every_page_is_in_the_navigation_once(site):
    found = list(paths(site.navigation()))
    docs = ROOT / "docs"
    assert sorted(found) == sorted(
        ["index.md", *(str(file.relative_to(docs)) for file in docs.rglob("*.md"))]
    )


def test_a_guide_that_the_order_does_not_know_comes_last(site, monkeypatch):
    monkeypatch.setattr(site, "GUIDES", {"Where it runs": ("docker",)})
    [guides] = [entry["Guides"] for entry in site.navigation() if "Guides" in entry]
    assert guides[0] == {"Where it runs": ["guides/docker.md"]}
    assert "guides/keys.md" in guides[1]["More"]


def test_the_settings_with_and_without_a_repository(site, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    settings = yaml.safe_load(site.settings(site.navigation()))
    assert settings["nav"] == site.navigation()
    assert "site_url" not in settings
    monkeypatch.setenv("GITHUB_REPOSITORY", "Me/it")
    assert yaml.safe_load(site.settings([]))["site_url"] == "https://me.github.io/it/"
