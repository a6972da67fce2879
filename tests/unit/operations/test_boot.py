"""The unit of systemd: what it has of the shell that made it; tests/e2e has systemd read it."""

import sys

import pytest

from deployctl.operations.boot import unit


@pytest.fixture
def made(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/$my 100%/python")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:hush@mirror")
    monkeypatch.setenv("HF_TOKEN", "hush")
    return unit()


def test_an_engine_has_the_card_that_it_had(made):
    assert 'Environment="CUDA_VISIBLE_DEVICES=1"\n' in made


def test_no_secret_is_in_it(made):
    assert "hush" not in made


def test_a_dollar_in_the_programs_path_is_one(made):
    """systemd expands the words after it alone: with two it finds no program."""
    assert 'ExecStart="/opt/$my 100%%/python" -m deployctl boot --start\n' in made
