"""Whatever servers, models and logs say: a terminal is given words."""

import io
import json

import pytest
from rich.table import Table
from rich.text import Text

from deployctl.cli import console
from deployctl.cli.console import Terminal
from deployctl.cli.logs import command as logs
from deployctl.errors import TargetError
from deployctl_loadtest.foreign import MAX_MESSAGE, message, printable

HOSTILE = "a\x1b[2Jb\x1b]0;title\x07c\x9b31md\x07e\x08f\u202eg\ud800h\x7fi\x00j\u2028k"
CLEAN = "abc\ufffd31md\ufffde\ufffdf\ufffdg\ufffdh\ufffdi\ufffdj\ufffdk"


def shown(width=80, terminal=True):
    return Terminal(
        file=io.StringIO(), force_terminal=terminal, width=width, color_system="truecolor"
    )


def test_nothing_that_moves_a_cursor_is_left():
    assert printable(HOSTILE) == CLEAN
    assert printable("plain ümläut 日本 🎉\t\n") == "plain ümläut 日本 🎉\t\n"
    assert printable("\x1b" * 3 + "(x") == "\ufffd" * 3 + "(x"
    assert printable("\x1b[" + "0" * 9 + ";") == "\ufffd[" + "0" * 9 + ";"  # no end


def test_a_message_is_one_short_line():
    assert message("a\n b\tc") == "a b c"
    assert len(message("x" * 10**6)) == MAX_MESSAGE
    message("\ud800").encode()


def test_what_rich_draws_of_it_is_printable_and_keeps_its_own_colours():
    terminal = shown()
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(HOSTILE, style="red")
    for said in (HOSTILE, Text(HOSTILE, style="bold"), table):
        terminal.print(said)
    text = terminal.file.getvalue()
    assert "\x1b[1m" in text
    for colour in ("\x1b[1m", "\x1b[0m", "\x1b[31m", "\x1b[1;31m"):
        text = text.replace(colour, "")
    assert not set(text) & set("\x1b\x9b\x07\x08\u202e\ud800\x00")


@pytest.mark.parametrize("words", ["[bold]", "[/x]", "[link=http://x]y[/link]", ":smile:", "[[["])
def test_words_in_brackets_are_words(words):
    terminal = shown()
    table = Table(words)
    table.add_row(words)
    for said in (words, table):
        terminal.print(said)
    assert terminal.file.getvalue().count(words) == 3


def test_a_live_line_takes_words_as_they_are(monkeypatch):
    monkeypatch.setattr(console, "err", shown())
    line = console.LiveLine()
    line.show(lambda _: "[/x]\x1b[2J")
    line.end()
    assert "[/x]" in console.err.file.getvalue()
    assert "\x1b[2J" not in console.err.file.getvalue()


def test_stories_and_lines_show_no_password(capsys):
    console.story("at http://a:secret@h")
    console.say("a\x1b[2Jb")
    console.print_rows([("a\x1b[2J", "b\x07")])
    told = capsys.readouterr()
    assert told.err == "at http://h\n"
    assert told.out == "ab\na  b\ufffd\n"


def test_a_number_that_is_none_is_null(capsys):
    console.answer_json({"a": [float("nan"), 1.5, (float("inf"),)], "b": "\ud800"})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5, [None]], "b": "\ud800"}


def test_a_log_is_printed_line_by_line_and_a_progress_bar_by_its_states(capsys, monkeypatch):
    class Log:
        lines = ("\x1b[36m(EngineCore pid=1)\x1b[0m \x1b]0;x\x07INFO", "0%\r50%\r100%", "")

    monkeypatch.setattr(
        "deployctl.operations.deploy.services.logs", lambda *_, **__: Log, raising=True
    )
    logs(None)
    assert capsys.readouterr().out == "(EngineCore pid=1) INFO\n0%\n50%\n100%\n\n"


def test_an_error_of_a_server_is_reported_clean(capsys):
    from deployctl.cli.app import report

    report(TargetError(HOSTILE, where="http://u:p@h\x1b[2J", hint="[/]"))
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert "u:p" not in told
    assert " hint: [/]" in told
