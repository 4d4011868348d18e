"""Fingerprints of code: results and kept intermediates name what made them, so that nothing older passes for it."""

import ast
import hashlib
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("albumentations", "numpy", "opencv-python-headless")  # draw on faces


def syntax(path: Path) -> str:
    """A Python file's syntax tree without docstrings, as text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def drawn_by(*files: str) -> str:
    """What besides settings and keys decides a drawn face, as 16 hex digits: the syntax of the files that draw it and
    the versions of the libraries that they call."""
    parts = [*map(version, _LIBRARIES), *(syntax(Path(file)) for file in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
