"""The engine's command line, found in a container's command and taken apart."""

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from deployctl.checking.documents import Place

_API_SERVER = re.compile(r"vllm\.entrypoints\.(openai\.|cli\.)?(api_server|main)\Z")
_SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_ENDS = frozenset({";", "&&", "||", "|", "&", "\n"})
_SHORT = {
    "tp": "tensor-parallel-size",
    "pp": "pipeline-parallel-size",
    "dp": "data-parallel-size",
    "q": "quantization",
    "n": "nnodes",
    "r": "node-rank",
}
_EXPANSION = re.compile(r"\$[A-Za-z_({]|`")
_INLINE = re.compile(r"-[a-z]*c")  # sh -c, bash -lc
# A whole line, or the end of one without a quote in it: an apostrophe there is no quote.
_COMMENT = re.compile(r"^[ \t]*#.*$|[ \t]#[^\"\n]*$", re.MULTILINE)
_MAX_SCRIPT = 64 * 1024


class Word(NamedTuple):
    """One word, and the value it comes from."""

    text: str
    place: Place

    @property
    def expanded(self) -> bool:
        """Whether a variable decides what it will be."""
        return bool(_EXPANSION.search(self.text))


class GivenFlag(NamedTuple):
    """One flag with its values."""

    name: str  # without dashes; underscores as dashes
    values: tuple[Word, ...]
    place: Place

    @property
    def value(self) -> str | None:
        """The first value, unless a variable decides it."""
        if not self.values or self.values[0].expanded:
            return None
        return self.values[0].text


class CommandLine(NamedTuple):
    """What the engine is told."""

    flags: dict[str, GivenFlag]  # the last of each name
    model: Word | None
    serves: bool = True  # whether the words start vLLM's server

    def text(self, name: str) -> str | None:
        """A flag's value."""
        flag = self.flags.get(name)
        return flag.value if flag else None

    def number(self, name: str, default: float) -> float | None:
        """A flag's number; `default` when it is not given, None when it cannot be known."""
        flag = self.flags.get(name)
        if flag is None:
            return default
        try:
            return float(flag.value or "")
        except ValueError:
            return None

    def whole(self, name: str) -> int | None:
        """A positive whole number; 1 when it is not given, None when it cannot be known."""
        value = self.number(name, 1.0)
        return int(value) if value is not None and 1 <= value < 100_000 else None


EMPTY = CommandLine({}, None, serves=False)


def command_line(
    command: Sequence[Word], args: Sequence[Word], *, engine_image: bool
) -> CommandLine:
    """Finds the engine's arguments in entrypoint and arguments.

    Without a command, the arguments of an engine's image are the engine's. A shell may stand
    in either of the two.
    """
    if not command and args and _program(args[0]) in _SHELLS:
        command, args = args, ()
    words = list(command)
    if words and args and _INLINE.fullmatch(words[-1].text):
        words, args = [*words, args[0]], args[1:]
    shell = bool(words) and _program(words[0]) in _SHELLS
    inline = next((i for i, w in enumerate(words[:-1]) if _INLINE.fullmatch(w.text)), None)
    if shell and inline is not None:
        words = _script(words[inline + 1], args)
    elif engine_image and words and _server(words) is None and _is_engines(args):
        return parse_words(args)  # a script of one's own that passes them on
    elif words or _server(args) is not None:
        words += args
    elif engine_image:
        return parse_words(args)
    start = _server(words)
    return EMPTY if start is None else parse_words(words[start:])


def parse_words(words: Sequence[Word]) -> CommandLine:
    """Takes the engine's own arguments apart, without looking for what starts it."""
    model: Word | None = None
    groups: list[tuple[str, Place, list[Word]]] = []
    for word in words:
        if word.text in _ENDS:
            break
        flag = _flag(word)
        if flag is not None:
            name, value = flag
            groups.append((name, word.place, [] if value is None else [Word(value, word.place)]))
        elif groups:
            groups[-1][2].append(word)
        elif model is None:
            model = word
    flags = {name: GivenFlag(name, tuple(values), place) for name, place, values in groups if name}
    if "model" in flags and flags["model"].values:
        model = flags["model"].values[0]
    return CommandLine(flags, model)


def _program(word: Word) -> str:
    return word.text.rsplit("/", 1)[-1]


def _is_engines(args: Sequence[Word]) -> bool:
    return any(word.text == "--model" or word.text.startswith("--model=") for word in args)


def _script(script: Word, args: Sequence[Word]) -> list[Word]:
    """The words of a shell script; `"$@"` stands for the arguments after its name."""
    source = _COMMENT.sub("", script.text[:_MAX_SCRIPT])
    source = source.replace("\\\n", " ").replace("\n", " ; ")
    lexer = shlex.shlex(source, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[Word] = []
    try:
        for token in lexer:
            if token in ("$@", "$$@", "${@}"):
                words += args
            else:
                words.append(Word(token, script.place))
    except ValueError:
        return words  # an open quote: what was read so far
    return words


def _server(words: Sequence[Word]) -> int | None:
    """Where the server's own arguments begin."""
    for index, word in enumerate(words):
        if _program(word) == "vllm" and index + 1 < len(words) and words[index + 1].text == "serve":
            return index + 2
        if _API_SERVER.search(word.text) or word.text.endswith("entrypoints/openai/api_server.py"):
            return index + 1
    return None


def _flag(word: Word) -> tuple[str, str | None] | None:
    text = word.text
    if text.startswith("--") and len(text) > 2:
        name, equals, value = text[2:].partition("=")
        return name.replace("_", "-"), value if equals else None
    match = re.fullmatch(r"-([a-z]{1,2})(?:=(.*))?", text)
    if match and match[1] in _SHORT:
        return _SHORT[match[1]], match[2]
    if re.match(r"-(O|cc)", text):  # -O3, -cc.mode=3: the compiler's own
        return "", None
    return None
