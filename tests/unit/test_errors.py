"""The tree of errors that is drawn is the one that the classes make."""

import re

from deployctl import errors


def drawn():
    """Base and exit code of each error, by its name; an error without a code has its base's."""
    tree, path = {}, []
    for line in errors.__doc__.splitlines():
        if seen := re.match(r"    ([│├└─ ]*)(\w+Error)\s+(\d*)", line):
            branch, name, code = seen.groups()
            depth = len(branch) // 4
            path[depth:] = [name]
            base = path[depth - 1] if depth else "Exception"
            tree[name] = (base, int(code) if code else tree[base][1])
    return tree


def test_the_drawn_tree_is_the_real_one():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert drawn() == {c.__name__: (c.__base__.__name__, c.exit_code) for c in classes}
