"""Tests by their names, without importing them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def functions_of(file: str) -> set[str]:
    """The functions at the top of a file."""
    path = ROOT / file
    tree = ast.parse(path.read_text() if path.is_file() else "")
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def is_there(node: str) -> bool:
    """Whether a test exists, given as `file::name`, its parameters or not, or as a file."""
    file, _, name = node.partition("::")
    return name.partition("[")[0] in functions_of(file) if name else (ROOT / file).is_file()
