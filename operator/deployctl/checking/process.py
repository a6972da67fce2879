"""The command of target `process`: an engine without a container."""

from deployctl.checking.commandline import Word, command_line
from deployctl.checking.documents import Document
from deployctl.checking.engine import Engine, Variable
from deployctl.checking.walk import items, mapping, text


def engine_of(document: Document) -> Engine:
    """The engine that a rendered command.json starts."""
    words = [
        Word(str(word), document.place("arguments", index))
        for index, word in enumerate(items(document.data.get("arguments")))
    ]
    environment = {
        name: Variable(text(value), document.place("environment", name))
        for name, value in mapping(document.data.get("environment")).items()
    }
    if document.data.get("api_key") is True:
        environment["VLLM_API_KEY"] = Variable(None, document.place("api_key"))
    return Engine(
        place=document.place(),
        data={},
        command=command_line([], words, engine_image=False),
        env=environment,
        version=text(document.data.get("engine_version")) or None,
    )
