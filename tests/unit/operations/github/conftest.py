"""A fake of GitHub's API, as the environment of a job names it."""

import pytest

from fake_github import TOKEN, FakeGitHub


@pytest.fixture
def github(monkeypatch):
    with FakeGitHub() as fake:
        monkeypatch.setenv("GITHUB_API_URL", fake.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        yield fake
