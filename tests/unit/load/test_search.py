import pytest

from deployctl.load import limit as limits


def find(measure, **given):
    """Searches, with `measure` to answer what is asked."""
    search = limits.find(**given)
    try:
        asked = next(search)
        while True:
            asked = search.send(measure(*asked))
    except StopIteration as ended:
        return ended.value


def service(limit, unclear=0.0, client=float("inf")):
    """Holds below `limit`; within the share `unclear` of it, nothing can be said."""
    asked = []

    def measure(load, attempt):
        asked.append((load, attempt))
        if load > client:
            return "client"
        if abs(load - limit) < unclear * limit:
            return "unclear"
        return "yes" if load <= limit else "no"

    return measure, asked


@pytest.mark.parametrize("limit", [0.02, 0.9, 1.0, 1.5, 7.3, 100, 999])
def test_the_limit_is_bracketed_to_the_precision(limit):
    measure, asked = service(limit)
    found = find(measure, start=1, highest=1000)
    assert found.status == "found"
    assert found.holds <= limit < found.breaks
    assert found.breaks <= found.holds * 1.1
    assert len(asked) <= 18
    assert all(attempt == 1 for _, attempt in asked)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 37, 63])
def test_users_are_whole_and_neighbours_end_it(limit):
    measure, asked = service(limit)
    found = find(measure, start=4, highest=1000, whole=True)
    assert found.status == "found"
    assert found.holds <= limit < found.breaks
    assert found.breaks == found.holds + 1 or found.breaks <= found.holds * 1.1
    assert all(load == int(load) for load, _ in asked)


def test_it_doubles_before_it_bisects():
    measure, asked = service(5)
    find(measure, start=1, highest=100)
    assert [load for load, _ in asked][:5] == [1, 2, 4, 8, 6]


def test_what_stays_unclear_is_measured_again_and_then_said():
    measure, asked = service(5, unclear=0.3)
    found = find(measure, start=1, highest=100)
    assert (found.status, found.holds, found.breaks) == ("unresolved", 2, None)
    assert asked[-3:] == [(4, 1), (4, 2), (4, 3)]
    measure, _ = service(6, unclear=0.1)
    assert find(measure, start=1, highest=100) == ("unresolved", 4, 8)


def test_longer_measurement_can_resolve_it():
    def measure(load, attempt):
        if attempt == 1 and 4 < load < 6:
            return "unclear"
        return "yes" if load < 5 else "no"

    found = find(measure, start=1, highest=100)
    assert found.status == "found"
    assert found.holds < 5 <= found.breaks


def test_the_ends():
    assert find(service(1e9)[0], start=1, highest=50) == ("not_reached", 50, None)
    assert find(service(0)[0], start=1, highest=50).status == "never_held"
    assert find(service(0)[0], start=4, highest=50, whole=True) == ("never_held", None, 1)
    assert find(service(1e9, client=10)[0], start=1, highest=50) == ("client_limited", 8, None)
    assert find(service(3)[0], start=100, highest=2).holds == 2
