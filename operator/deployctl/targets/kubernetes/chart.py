"""The chart of a bundle: as files for Helm, and the objects that it makes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from deployctl.render.bundle import CHART_FOLDER, VALUES_FILE, Bundle
from deployctl.targets import helm
from deployctl.targets.kubernetes.cluster import Document

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MADE: dict[tuple[str, str], list[Document]] = {}


@contextmanager
def on_disk(bundle: Bundle) -> Iterator[Path]:
    """The folder of a bundle's chart, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="deployctl-") as folder:
        for path, text in bundle.files.items():
            if path.startswith(f"{CHART_FOLDER}/"):
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        yield Path(folder) / CHART_FOLDER


def objects_of(bundle: Bundle, namespace: str) -> list[Document]:
    """Every object that Helm makes of a bundle, but the pods of its tests.

    Raises:
        TargetError: there is no helm, or it failed.
        InputError: the chart refuses the values.
    """
    known = (bundle.digest, namespace)
    if known not in _MADE:  # helm takes a while, and one command may ask more than once
        with on_disk(bundle) as chart:
            values = bundle.files[VALUES_FILE]
            text = helm.template(chart, values, name=bundle.service, namespace=namespace)
        found = [document for document in yaml.load_all(text, Loader=_LOADER) if document]
        _MADE[known] = found
    return _MADE[known]
