"""scripts/house.py: what it counts, and that it fails on what is over its limit."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "house.py"


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("house", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def counted(house, tmp_path):
    """`counted({path: text})`: what each rule found in a tree of these files."""

    def count(files, allowed=""):
        (tmp_path / "pyproject.toml").write_text(f"[tool.deployctl.house]\n{allowed}")
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return {rule.name: rule for rule in house.rules(house.sources(tmp_path))}

    return count


def test_lines_and_files(counted):
    files = {
        "operator/deployctl/a.py": "x = 1\ny = 2\n",
        "operator/deployctl/cli/b.py": "x = 1\n",
        "tests/c.py": "x = 1\n",
    }
    rules = counted(files)
    assert rules["operator-lines"].count == 3
    assert rules["operator-files"].count == 2
    assert rules["cli-lines"].count == 1


def test_a_function_has_at_most_sixty_lines(counted):
    body = "    x = 1\n"
    text = f"def good():\n{body * 59}\nasync def bad():\n{body * 60}"
    assert counted({"operator/deployctl/a.py": text})["long-functions"].places == (
        "operator/deployctl/a.py:62 bad has 61 lines",
    )


def test_only_a_verb_has_many_parameters(counted):
    eight = "a, b, c, d, /, e, f, *, g, h"
    files = {
        "operator/deployctl/a.py": f"class A:\n    def good(self, {eight}): ...\n"
        f"def bad({eight}, i): ...\n",
        "operator/deployctl/cli/verb.py": f"def command({eight}, i): ...\n",
        "operator/deployctl/load/command.py": f"def command({eight}, i): ...\n",
    }
    assert counted(files)["wide-functions"].places == (
        "operator/deployctl/a.py:3 bad has 9 parameters",
        "operator/deployctl/load/command.py:1 command has 9 parameters",
    )


def test_a_class_name_is_used_once(counted):
    files = {
        "operator/deployctl/a.py": "class One: ...\nclass Two: ...\n",
        "operator/deployctl/b.py": "class Two: ...\n",
        "tests/c.py": "class One: ...\n",
    }
    assert counted(files)["class-names"].places == (
        "Two in operator/deployctl/a.py:2, operator/deployctl/b.py:1",
    )


def test_a_cycle_is_found_wherever_the_imports_stand(counted):
    files = {
        "operator/deployctl/__init__.py": "",
        "operator/deployctl/a.py": "def f():\n    from deployctl import b\n",
        "operator/deployctl/b.py": "from deployctl.c import name\n",
        "operator/deployctl/c.py": "if TYPE_CHECKING:\n    import deployctl.a\n",
        "operator/deployctl/below.py": "from deployctl.a import f\n",
        "tests/known.py": "from parts import x\n",
        "tests/parts.py": "from tests.known import y\n",
    }
    assert counted(files)["cycles"].places == (
        "operator/deployctl/a.py - operator/deployctl/b.py - operator/deployctl/c.py",
        "tests/known.py - tests/parts.py",
    )


def test_a_package_may_import_its_modules_and_they_each_other(counted):
    files = {
        "operator/deployctl/p/__init__.py": "from deployctl.p.a import f\n",
        "operator/deployctl/p/a.py": "from deployctl.p import b\n",
        "operator/deployctl/p/b.py": "",
    }
    assert counted(files)["cycles"].count == 0


def test_no_module_or_package_is_named_like_the_standard_library(counted):
    files = {
        "operator/deployctl/secrets/__init__.py": "",
        "operator/deployctl/cli/inspect.py": "",
        "tests/statistics.py": "",
    }
    assert counted(files)["module-names"].places == (
        "operator/deployctl/secrets",
        "tests/statistics.py",
    )


def test_the_check_fails_on_an_excess_and_names_it(house, counted, tmp_path, capsys):
    counted({"scripts/a.py": "import b", "scripts/b.py": "import a"})
    assert house.main(tmp_path, ["--check"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "import cycles: 1, at most 0\n  scripts/a.py - scripts/b.py\n")


def test_an_allowance_lets_an_excess_pass(house, counted, tmp_path, capsys):
    counted({"scripts/a.py": "import b", "scripts/b.py": "import a"}, "cycles = 1")
    assert house.main(tmp_path, ["--check"]) == 0
    assert capsys.readouterr() == ("", "")
    assert house.main(tmp_path, []) == 0
    assert "import cycles                                      0        1        1" in (
        capsys.readouterr().out
    )
