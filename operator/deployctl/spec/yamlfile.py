"""YAML as users write it: several documents, no duplicate keys, errors with a line."""

from pathlib import Path
from typing import Any

import yaml

from deployctl.errors import SpecError

MAX_BYTES = 1024 * 1024  # a spec file of more is a mistake


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is not text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_documents(file: Path) -> list[dict[str, Any]]:
    """Reads the mappings of a YAML file, one a document.

    Raises:
        SpecError: the file is missing, unreadable, not YAML, or holds something else.
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SpecError("the file is larger than 1 MiB", where=str(file))
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"cannot read the file: {error.strerror}", where=str(file), hint="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError("the file is not UTF-8 text", where=str(file)) from error
    try:
        documents = [d for d in yaml.load_all(text, Loader=_Loader) if d is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or "not YAML"
        raise SpecError(str(problem), where=place, hint="check the YAML there") from error
    except RecursionError as error:
        raise SpecError("the file is nested too deeply", where=str(file)) from error
    for index, document in enumerate(documents):
        if not isinstance(document, dict):
            raise SpecError(
                f"a {type(document).__name__} where a mapping was expected",
                where=f"{file}: services/{index}",
                hint="each document describes one service: model: …, gpu: …",
            )
    if not documents:
        raise SpecError("the file holds no document", where=str(file), hint="write model: …")
    return documents
