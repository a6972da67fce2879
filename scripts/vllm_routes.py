"""The HTTP routes of a vLLM release, from its source, which is parsed and never imported.

Read are decorators such as `@router.post("/v1/score")`, `add_api_route` calls, mounts, and what
FastAPI adds by itself.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

_METHODS = ("get", "post", "put", "delete", "patch", "head", "options")
# FastAPI's own: a schema, and three pages made of it.
_OF_FASTAPI = ("/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc")
# What model_hosting_container_standards, which vLLM imports, mounts for a handler given to it.
_OF_SAGEMAKER = {
    "register_load_adapter_handler": "POST /adapters",
    "register_unload_adapter_handler": "DELETE /adapters/{adapter_name}",
}
# Servers that are not the OpenAI-compatible one: another program, a gRPC server, an example.
_OTHER_SERVERS = ("api_server.py", "grpc_server.py", "dp_supervisor.py")


def routes_of(package: Path) -> list[str]:
    """The routes of one release, as "METHOD /path"."""
    found = {f"GET {path}" for path in _OF_FASTAPI}
    root = package / "entrypoints"
    for file in sorted(root.rglob("*.py")):
        if file.parent == root and file.name in _OTHER_SERVERS:
            continue
        if file.name in _OTHER_SERVERS[1:]:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        prefixes = _prefixes(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found.update(_routes(node, node.func, prefixes))
            elif isinstance(node, ast.Call) and _name(node.func) == "Mount" and _path(node):
                found.add(f"GET {_path(node)}")
    return sorted(found)


def _routes(call: ast.Call, function: ast.Attribute, prefixes: dict[str, str]) -> Iterator[str]:
    if function.attr in _OF_SAGEMAKER:
        yield _OF_SAGEMAKER[function.attr]
    path = _path(call)
    if path is None:
        return
    path = prefixes.get(_name(function.value), "") + path
    if function.attr in _METHODS:
        yield f"{function.attr.upper()} {path}"
    elif function.attr == "websocket":
        yield f"WEBSOCKET {path}"
    elif function.attr == "mount":
        yield f"GET {path}"
    elif function.attr in ("api_route", "add_api_route"):
        for method in _methods(call):
            yield f"{method} {path}"


def _prefixes(tree: ast.Module) -> dict[str, str]:
    """`router = APIRouter(prefix="/v1")`, by the router's name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for keyword in node.value.keywords:
                if keyword.arg == "prefix" and isinstance(keyword.value, ast.Constant):
                    found.update({_name(t): str(keyword.value.value) for t in node.targets})
    return found


def _methods(call: ast.Call) -> list[str]:
    for keyword in call.keywords:
        if keyword.arg == "methods" and isinstance(keyword.value, ast.List):
            return [str(e.value) for e in keyword.value.elts if isinstance(e, ast.Constant)]
    return ["GET"]


def _path(call: ast.Call) -> str | None:
    """The path that a call names first, if it is a path."""
    if call.args and isinstance(call.args[0], ast.Constant):
        value = call.args[0].value
        if isinstance(value, str) and value.startswith("/"):
            return value
    return None


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""
