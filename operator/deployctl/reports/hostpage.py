"""Pages of Markdown for a code host: comments and job summaries.

All that others wrote (names, values, messages) stands in code spans: there it is no link, no
mention of a person, no HTML. A page is cut where the host would refuse it.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

from deployctl_loadtest.foreign import printable

MOST_OF_A_COMMENT = 65_536  # GitHub's limit, in characters; counted in bytes, which are more
MOST_OF_A_SUMMARY = 1024 * 1024  # bytes, of all that a step writes; of more GitHub shows nothing
LONGEST = 160  # characters of a value
_MOST_ITEMS = 40  # of a list
_LONGEST_NAME = 200  # characters of what a page is about, in its header
_BARS = "▁▂▃▄▅▆▇█"


def header(kind: str, about: Sequence[str]) -> str:
    """What tells a page's comment from others; hidden where Markdown is shown.

    Two that are about other things have other headers: what cannot stand there as it is has its
    digest beside it.
    """
    whole = " ".join(about)
    named = re.sub(r"[^A-Za-z0-9._/ -]|--+", "_", whole)[:_LONGEST_NAME]
    digest = hashlib.sha256("\0".join(about).encode("utf-8", "surrogatepass")).hexdigest()[:12]
    told = named if named == whole and not any(" " in each for each in about) else None
    return f"<!-- deployctl {kind}: {told or f'{named} {digest}'} -->"


def joined(parts: Iterable[str], most: int, link: str) -> str:
    """The parts as a page of `most` bytes; of one that is longer `link` (an address that is
    trusted) leads to the rest.
    """
    return cut("".join(parts), most, f"[the run's report]({link})" if link else "the JSON answer")


def cut(page: str, most: int, whole: str) -> str:
    """A page of `most` bytes at most: whole lines of it, outside of what is folded, and at its end
    how much is left out and that `whole` has it. Empty where not even that has room.
    """
    if _size(page) <= most:
        return page
    lines = page.splitlines(keepends=True)
    room = most - _size(_left_out(len(lines), whole))
    folds = good = 0
    for number, line in enumerate(lines, 1):
        room -= _size(line)
        if room < 0:
            break
        folds += line.startswith("<details>") - line.startswith("</details>")
        # A heading stands with what it is of.
        if not folds and line.strip() and not line.startswith("#"):
            good = number
    end = _left_out(len(lines) - good, whole)
    return "".join(lines[:good]) + end if _size(end) <= most else ""


def _size(text: str) -> int:
    """Bytes of a text in a file or a request; half of a surrogate pair is written as its number."""
    return len(text.encode(errors="backslashreplace"))


def _left_out(lines: int, whole: str) -> str:
    left = "1 line" if lines == 1 else f"{lines:,} lines"
    return f"\n_Cut here, for its length: {left} left out; {whole} has all._\n"


def listed(items: Iterable[str]) -> str:
    """A list, of its first items where it is long."""
    lines = [f"- {item}" for item in items]
    if len(lines) > _MOST_ITEMS:
        lines[_MOST_ITEMS:] = [f"- and {len(lines) - _MOST_ITEMS} more"]
    return "\n".join(lines) + "\n"


def folded(title: str, body: str) -> str:
    """A part that is opened by a click. Its title is HTML, where code spans are none."""
    shown = re.sub(r"[^A-Za-z0-9 ,.:/()_-]", "·", _line(title, LONGEST))
    return f"\n<details><summary>{shown.replace('//', '/')}</summary>\n\n{body}\n</details>\n"


def count(number: int, word: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def code(text: str, *, longest: int = LONGEST, in_table: bool = False) -> str:
    """A code span, whatever the text is. A cell of a table would end at a bar, in code too."""
    line = _line(text, longest) or "–"
    if in_table:
        line = line.replace("|", "¦")
    ticks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


# Words and numbers that Markdown, and what GitHub makes of a text, leave as they are.
_PLAIN = re.compile(r"\(?[A-Za-z0-9]+(?:[,'’–-][A-Za-z0-9]+|\.\d+)*%?[).,;:]*")
_REFERENCE = re.compile(r"GH-\d", re.IGNORECASE)  # to an issue


def words(text: str) -> str:
    """A sentence, what is no plain word of it as code."""
    return " ".join(
        word
        if _PLAIN.fullmatch(word) and len(word) < 30 and not _REFERENCE.search(word)
        else _spanned(word)
        for word in _line(text, 4 * LONGEST).split(" ")
    )


def _spanned(word: str) -> str:
    """A word as code; what ends it in a sentence is none of it."""
    core = word.rstrip(".,;:")
    return code(core) + word[len(core) :] if core else code(word)


def bars(values: Sequence[float]) -> str:
    """Figures from 0 up as a line of bars, which every font has."""
    top = max(values, default=0.0)
    step = top / (len(_BARS) - 1) if top > 0 else 1.0
    return "".join(_BARS[max(0, min(len(_BARS) - 1, round(value / step)))] for value in values)


def _line(text: str, longest: int) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"
