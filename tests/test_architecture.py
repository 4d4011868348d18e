"""Who may import whom: data flows from left to right, and so do imports; an arrow that turns back is named here."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import fer_lab

ROOT = Path(fer_lab.__file__).parent
ENTRY_POINTS = {"audit", "benchmark", "evaluate", "export", "tables", "train"}
#: Composing, refusing, naming: what every package may import, and what imports no package.
BASE = {"__init__", "cli", "composing", "errors", "extras", "fingerprint", "refusals", "resolvers", "root", "schema"}
#: Of each package, what it may import beside BASE.
BELOW = {
    "labels": set(),
    "faces": {"labels"},
    "data": {"faces", "labels"},
    "models": {"data", "faces", "labels"},
}
_LOWER = {"models", *BELOW["models"]}
BELOW |= {
    "results": _LOWER,
    "live": {*_LOWER, "deploy"},
    "dashboard": {*_LOWER, "live"},
    "deploy": {*_LOWER, "evaluation", "results"},
    "evaluation": {*_LOWER, "results", "live"},
    "training": {*_LOWER, "evaluation", "results"},
}
#: (importing file, imported module): why that arrow turns back.
EXCEPTIONS = {
    ("evaluation/suites.py", "deploy.copies"): "evaluate asks exported files too, which their runtimes open",
    ("live/__main__.py", "dashboard"): "its check that the extra is installed, before the next",
    ("live/__main__.py", "dashboard.serve"): "an entry point: `dashboard=true` serves the pages beside the camera",
    ("results/compare.py", "evaluation.significance"): "tables are judged by the statistics that suites use",
    ("results/comparison.py", "evaluation.significance"): "the interval that they hold",
    ("results/verify.py", "evaluation.significance"): "the scores that are recomputed from kept predictions",
}


@cache
def imports(at_once: bool = False) -> dict[str, set[str]]:
    """Modules of fer_lab, and others' first names, that each file of fer_lab imports, none of them for types alone.

    Args:
        at_once: leave out what a function imports when it is called.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        left_out = [node for node in ast.walk(tree) if _never_runs(node) or (at_once and _is_function(node))]
        hidden = {inner for node in left_out for inner in ast.walk(node)}
        names = [name for node in ast.walk(tree) if node not in hidden for name in _imported(node)]
        found[path.relative_to(ROOT).as_posix()] = {name for name in names if name}
    return found


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _never_runs(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _imported(node: ast.AST) -> list[str]:
    """`data.cache` of fer_lab's own, `lightning` of others."""
    if isinstance(node, ast.Import):
        return [_name(alias.name) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert not node.level, "imports are absolute"
    modules = [f"{node.module}.{alias.name}" for alias in node.names]
    return [_name(module if _is_module(module) else str(node.module)) for module in modules]


def _is_module(name: str) -> bool:
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _name(module: str) -> str:
    first, _, rest = module.partition(".")
    return rest or "__init__" if first == "fer_lab" else f"{first}:"


def _package(name: str) -> str:
    return name.partition(".")[0]


def _own(names: set[str]) -> set[str]:
    return {name for name in names if not name.endswith(":")}


def _file(module: str) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def test_imports_follow_the_arrow() -> None:
    turned = set()
    for file, names in imports().items():
        package = file.partition("/")[0].removesuffix(".py")
        for name in _own(names):
            other = _package(name)
            if package in ENTRY_POINTS or other in {package, *BASE}:
                continue
            if other not in BELOW.get(package, set()):
                turned.add((file, name))
    assert turned == set(EXCEPTIONS)


def test_every_package_has_a_place() -> None:
    there = {_package(file.partition("/")[0].removesuffix(".py")) for file in imports()}
    assert there == {*ENTRY_POINTS, *BASE, *BELOW}


def test_nothing_imports_an_entry_point() -> None:
    found = {
        (file, name) for file, names in imports().items() for name in _own(names) if _package(name) in ENTRY_POINTS
    }
    assert not found


def test_no_module_waits_for_itself() -> None:
    """Modules that import one another while they are loaded depend on who comes first."""
    graph = {file: {_file(name) for name in _own(names)} - {file} for file, names in imports(at_once=True).items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_deploy_and_live_load_no_lightning() -> None:
    graph = imports(at_once=True)
    for start in sorted(graph):
        if start.partition("/")[0] not in ("deploy", "live", "dashboard"):
            continue
        reached, ahead = set(), {start}
        while ahead:
            file = ahead.pop()
            reached.add(file)
            ahead |= {_file(name) for name in _own(graph[file])} - reached
        heavy = {file for file in reached if graph[file] & {"lightning:", "pytorch_lightning:"}}
        assert not heavy, start
