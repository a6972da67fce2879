"""The API key: where it comes from, and what is no key."""

import itertools
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployctl.errors import LockedError, SpecError
from deployctl.spec import ServiceSpec
from deployctl.targets.keys import (
    PATIENCE_S,
    locked,
    place_key,
    read_key,
    wanted_key,
    with_key_file,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "service" / "api_key"


def spec(**more):
    return ServiceSpec(model="m", gpu="cpu", **more)


def test_loopback_needs_none(path):
    assert with_key_file(spec(), path, {}).api_key_file is None
    assert wanted_key(spec(), path, {}) is None


def test_exposed_or_given_by_the_environment_the_spec_says_where_it_is(path):
    assert with_key_file(spec(expose=True), path, {}).api_key_file == path
    assert with_key_file(spec(), path, {"DEPLOYCTL_API_KEY": "k"}).api_key_file == path


def test_a_made_key_stays(path):
    asked = with_key_file(spec(expose=True), path, {})
    assert wanted_key(asked, path, {}) is None  # still to be made
    made = place_key(path, None)
    assert wanted_key(asked, path, {}) == made == place_key(path, made)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_another_state_folder_had_is_one_s_own(path, tmp_path):
    """A release that was recorded from elsewhere names the file of that state folder."""
    theirs = tmp_path / "elsewhere" / Path(*path.parts[-3:])
    asked = spec(api_key_file=theirs)
    assert wanted_key(asked, path, {}) is None  # still to be made
    made = place_key(path, None)
    assert wanted_key(asked, path, {}) == made
    place_key(theirs, "former")
    assert wanted_key(asked, path, {}) == made


def test_the_environment_beats_the_file(path, tmp_path):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    asked = spec(api_key_file=file)
    assert wanted_key(asked, path, {}) == "from-file"
    assert wanted_key(asked, path, {"DEPLOYCTL_API_KEY": "from-environment"}) == "from-environment"


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"tab\there", b"\xff", b"k" * 5000])
def test_what_is_no_key_is_refused_and_not_shown(path, tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        wanted_key(spec(api_key_file=file), path, {})
    assert str(file) in caught.value.where
    assert "two words" not in f"{caught.value.message} {caught.value.hint}"


def test_a_missing_file_is_said(path, tmp_path):
    with pytest.raises(SpecError, match="no such file"):
        wanted_key(spec(api_key_file=tmp_path / "none"), path, {})


def test_no_stored_key(path):
    assert read_key(path) is None


# The lock


def test_who_comes_second_waits_until_the_first_is_done(tmp_path):
    folder = tmp_path / "chat"
    with ExitStack() as first:
        first.enter_context(locked(folder))
        waited = []

        def sleep(seconds):
            waited.append(seconds)
            first.close()

        with locked(folder, sleep=sleep):
            assert len(waited) == 1


def test_who_holds_it_for_too_long_is_said(tmp_path):
    clock = itertools.count(0.0, PATIENCE_S / 4)
    second = locked(tmp_path / "chat", clock=lambda: next(clock), sleep=lambda seconds: None)
    with (
        locked(tmp_path / "chat"),
        pytest.raises(LockedError, match="keys of chat") as caught,
        second,
    ):
        pass
    assert caught.value.where == str(tmp_path / "chat" / "keys.lock")


def test_what_goes_wrong_under_the_lock_frees_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path, sleep=pytest.fail):
        pass
