"""What the door takes a request's headers for."""

import random

import pytest

from deployctl_door.headers import Headers


@pytest.mark.parametrize(
    ("pairs", "values"),
    [
        ([], {}),
        ([(b"a", b"1"), (b"b", b"2")], {b"a": b"1", b"b": b"2"}),
        ([(b"a", b"1"), (b"a", b"1")], {b"a": None}),
        ([(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b"4")], {b"a": None, b"b": b"2"}),
        ([(b"A", b"1"), (b"b", b"2")], {b"a": b"1", b"b": b"2"}),
        ([(b"A", b"1"), (b"a", b"2")], {b"a": None}),
        (
            [(b"a", b"1"), (b"\xc4", b"2"), (b"\xe4", b"3")],
            {b"a": b"1", b"\xc4": b"2", b"\xe4": b"3"},
        ),
    ],
)
def test_a_header_that_is_given_twice_is_nobodys_word(pairs, values):
    assert Headers(pairs).values == values


def test_names_are_one_whatever_their_case_in_any_order():
    choose = random.Random(0)
    for _ in range(2000):
        pairs = [
            (choose.choice([b"a", b"A", b"aB", b"ab", b""]), b"1")
            for _ in range(choose.randrange(5))
        ]
        names = [name.lower() for name, _ in pairs]
        once = {name: b"1" if names.count(name) == 1 else None for name in names}
        assert Headers(pairs).values == once
