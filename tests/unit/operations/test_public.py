"""What a program may count on: the names of docs/guides/python.md."""

import importlib
import re
from pathlib import Path

from deployctl import operations

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "python.md").read_text()


def imported(text):
    """Module and name of each import from `operations`."""
    lines = re.findall(r"^ *from (deployctl\.operations\.\S+) import (.+)$", text, re.MULTILINE)
    return {(module, name) for module, names in lines for name in names.split(", ")}


def called():
    """Module and name of each function of the guide's table."""
    cells = re.findall(r"\| `(operations\.\S+)\.(\w+)`((?:, `\w+`)*) \|", GUIDE)
    return {
        (f"deployctl.{module}", name)
        for module, first, more in cells
        for name in [first, *re.findall(r"\w+", more)]
    }


def test_the_package_names_what_the_guide_imports_and_calls():
    assert imported(operations.__doc__) == imported(GUIDE) | called()


def test_every_name_is_there():
    assert all(
        hasattr(importlib.import_module(module), name)
        for module, name in imported(operations.__doc__)
    )
