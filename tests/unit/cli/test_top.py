"""The screen of `deployctl top`, its columns and its keys."""

import io
import json
import sys
from datetime import UTC, datetime

import pytest
from rich.console import Console

from deployctl.cli.app import main
from deployctl.cli.top import verb
from deployctl.cli.top.columns import age, amount, columns, named, spark, told
from deployctl.cli.top.screen import Moments, Screen, draw, fitting
from deployctl.metrics.doors import KeyUse
from deployctl.operations.top.row import SORTS, Change, Row
from deployctl.operations.top.trend import Moment, Trend
from top_parts import busy, silent

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
WHEN = Moments(NOW, 100.0, 2.0)


def trend(*outputs):
    made = Trend()
    for number, value in enumerate(outputs):
        made.add(Moment(100.0 - 5 * (len(outputs) - 1 - number), output=value))
    return made


def lines(rows, *, view=None, width=120, height=12, before=()):
    """The screen as a terminal of that size shows it."""
    console = Console(file=io.StringIO(), width=width, no_color=True)
    seen = [(row, trend(*before)) for row in rows]
    console.print(draw(view or Screen(), seen, WHEN, width, height), end="")
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.25, "0.2"), (9.97, "10"), (312.4, "312"), (999.6, "1.0k"),
     (12345, "12.3k"), (2.5e6, "2.5M"), (1e13, "1e+13")],
)  # fmt: skip
def test_amounts_keep_to_their_column(value, text):
    assert amount(value) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("since", "text"),
    [("11:59:15", "45s"), ("11:46:00", "14m"), ("09:00:00", "3h"), ("12:00:30", "0s")],
)
def test_ages(since, text):
    assert age(f"2026-11-27T{since}+00:00", NOW) == text


def test_bars():
    assert spark([None, 0, 0.9, 6.9, 8]) == " ▁▁▇█"
    assert spark([0, 0]) == "▁▁"
    assert spark([0.5], top=1.0) == "▅"
    assert spark([None, None]) == "  "


def test_how_many_engines_answer():
    assert named(busy()) == "chat"
    assert named(busy(engines=3)) == "chat ×3"
    assert named(busy(engines=2, silent=1)) == "chat 2/3"
    assert named(silent(silent=2)) == "embed ×2"


def test_what_changed_last_in_words():
    change = Change(4, "failed", "2026-11-25T12:00:00+00:00", "rollback to 3", "out of memory")
    assert told(change, NOW) == "revision 4 failed 2d ago by rollback to 3: out of memory"


def test_a_busy_service_and_a_silent_one():
    shown = lines([silent(), busy()], width=130, before=(None, 5.0, 10.0))
    assert shown[0] == "deployctl top · 1 of 2 services serve · every 2.0 s · 12:00:00"
    titles, chat = shown[1:3]
    assert " ".join(titles.split()) == (
        "SERVICE TARGET RUN WAIT REQ/S OUT/S IN/S TTFT95 ITL95 KV HIT PRE/S REF/S CHANGED "
        "OUT/S BEFORE"
    )
    assert " ".join(chat.split()) == (
        "chat process 3 2 1.5 12.3k 100 250ms <10ms 50% - 0 3 r12 14m ▅█"
    )
    assert shown[3] == "embed    silent: no answer within 5.0 s"
    assert shown[-2] == "chat: revision 12 deployed 14m ago by up"
    assert len(shown) == 12


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("opened", [False, True])
def test_no_line_is_longer_than_the_terminal(width, opened):
    view = Screen(opened=opened)
    shown = lines([busy(detail="x" * 50), silent()], view=view, width=width, before=(1.0,))
    assert max(map(len, shown)) <= width


def test_what_others_wrote_on_several_lines_breaks_no_row():
    change = Change(2, "failed", "2026-11-27T11:46:00+00:00", "up", "out of\nmemory")
    shown = lines([silent(change=change)._replace(detail="it\r\nhangs")])
    assert shown[2] == "embed    silent: it hangs"
    assert shown[-2] == "embed: revision 2 failed 14m ago by up: out of memory · silent · it hangs"
    assert len(shown) == 12


def test_what_matters_least_goes_first():
    titles = [column.title for column in fitting(columns(NOW), 60)[0]]
    assert "RUN" in titles
    assert "TTFT95" in titles
    assert "TARGET" not in titles
    assert "IN/S" not in titles
    assert fitting(columns(NOW), 200)[1] == 40
    assert fitting(columns(NOW), 60)[1] == 0


def test_of_more_services_than_lines_the_chosen_one_is_shown():
    rows = [busy(service=f"s{number:02}") for number in range(30)]
    view = Screen(chosen=("s20", "process"))
    shown = lines(rows, view=view)
    assert len(shown) == 12
    assert any(line.startswith("s20") for line in shown)


def test_one_service_with_its_keys():
    keys = (
        KeyUse("ci", 4, 0, 40, 80, {"limit": 5, "model": 1}),
        KeyUse("-", refused={"no_key": 2}),
    )
    shown = lines([busy(keys=keys, restarts=2)], view=Screen(opened=True), height=24, before=(5.0,))
    assert shown[1] == "chat · process · http://127.0.0.1:8000 · serving · 12:00:00"
    assert any(line.startswith("output") and "5 tok/s" in line for line in shown)
    assert not any(line.startswith("KV cache") for line in shown)  # never seen
    assert any("refused 8 · engines started again by their watchdog: 2" in line for line in shown)
    assert any(line.split()[:6] == ["TTFT", "ms", "100.0", "100.0", "200.0", "250.0"]
               for line in shown)  # fmt: skip
    ci, nobody = shown[-2:]
    assert ci.split() == ["ci", "2", "20", "40", "0", "3", "limit", "5,", "model", "1"]
    assert nobody.split()[-2:] == ["no_key", "2"]


def test_of_very_many_keys_no_more_are_drawn_than_a_screen_has_lines():
    keys = tuple(KeyUse(f"k{number}", number) for number in range(1000))
    assert len(lines([busy(keys=keys)], view=Screen(opened=True), height=24)) < 60


def test_keys_move_sort_open_and_end():
    view, rows = Screen(), [busy(service="a"), busy(service="b"), silent("c")]
    for key, chosen in (("down", "b"), ("j", "c"), ("j", "c"), ("up", "b"), ("home", "a"),
                        ("end", "c"), ("pageup", "a")):  # fmt: skip
        assert not view.press(key, rows)
        assert view.chosen[0] == chosen
    view.press("enter", rows)
    assert view.opened
    view.press("down", rows)
    assert (view.opened, view.chosen[0]) == (True, "b")
    view.press("escape", rows)
    assert not view.opened
    view.press("s", rows)
    assert view.sort == list(SORTS)[1]
    view.press("r", rows)
    assert view.turned
    view.press("S", rows)
    assert (view.sort, view.turned) == ("service", False)
    assert view.press("q", rows)


def test_the_chosen_service_stays_chosen_when_the_order_changes():
    view, rows = Screen("running"), [busy(service="a"), busy(service="b")]
    view.press("down", rows)
    assert view.index(list(reversed(rows))) == 0


def test_of_a_service_that_is_gone_while_it_is_looked_into_the_others_are_shown():
    view = Screen()
    rows = [busy(), busy(service="other")]
    view.press("enter", rows)
    assert "REQ/S" not in lines(rows, view=view)[1]
    left = rows[1:]
    assert "REQ/S" in lines(left, view=view)[1]  # and not, unasked, another one's details
    view.press("j", left)
    assert "REQ/S" in lines(left, view=view)[1]
    view.press("enter", left)
    assert lines(left, view=view)[1].startswith("other")


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5])
def test_a_screen_of_few_lines_begins_with_the_chosen_service(height):
    view = Screen(chosen=("c", "process"))
    shown = lines([busy(service=name) for name in "abcd"], view=view, height=height)
    assert shown[2].startswith("c ")


def test_no_service_is_no_trouble():
    view = Screen()
    for key in ("down", "enter", "s"):
        view.press(key, [])
    assert not view.opened
    assert "no service: it is looked for" in lines([], view=view)


class Seen:
    """A board on which all has been seen."""

    def __init__(self, *rows):
        self._rows = rows

    def wait(self, steps):
        assert steps == 2

    def seen(self):
        return [(row, Trend()) for row in self._rows]

    def end(self):
        self._rows = ()


@pytest.fixture
def top(monkeypatch, capsys):
    def run(*words, rows=(), code=0):
        if rows:
            monkeypatch.setattr(verb, "_board", lambda *_: Seen(*rows))
        monkeypatch.setattr(sys, "argv", ["deployctl", "top", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert ended.value.code == code, done.err
        return done

    return run


def test_without_a_terminal_it_answers_once(top):
    done = top(rows=[busy()])
    header, row, blank, keys, key = done.out.splitlines()
    assert header.split()[:4] == ["SERVICE", "HEALTH", "TARGET", "RUN"]
    assert row.split()[:4] == ["chat", "serving", "process", "3"]
    assert (blank, keys.split()[1]) == ("", "KEY")
    assert key.split() == ["chat", "ci", "4", "0", "40", "80", "6", "limit", "6"]
    assert "chat: revision 12 deployed" in done.err


def test_a_service_that_does_not_answer_is_in_the_answer_and_in_the_exit_code(top):
    done = top("--output", "json", "--sort", "waiting", rows=[silent(), busy()], code=4)
    document = json.loads(done.out)
    chat, embed = document["services"]
    assert (document["version"], document["interval_s"]) == (1, 2.0)
    assert (embed["health"], embed["figures"]) == ("silent", None)
    assert chat["figures"]["ttft_s"]["p95"] == 0.25
    assert chat["changed"]["revision"] == 12
    assert chat["refusals"] == 6
    assert chat["keys"] == [
        {
            "key": "ci",
            "requests": 4,
            "failed": 0,
            "input_tokens": 40,
            "output_tokens": 80,
            "refused": {"limit": 6},
        }
    ]


def test_a_service_that_was_stopped_or_starts_is_no_failure(top):
    top(rows=[Row("a", health="stopped"), Row("b", health="starting")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--interval", "0.1s"), "--interval"),
        (("--sort", "beauty"), "'beauty' is no figure to sort by"),
        (("chat", "--url", "http://127.0.0.1:1"), "both a service (chat) and --url are given"),
        (("--operator-token-file", "t"), "--operator-token-file goes with --url"),
        (("--url", "127.0.0.1"), "is not an address"),
    ],
)
def test_what_cannot_be_meant(top, words, said):
    done = top(*words, code=2)
    assert said in done.err
    assert "hint:" in done.err
