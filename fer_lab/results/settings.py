"""What rows set by key rather than by choosing another file: `head.dropout`, `input_size`, beside their choices."""

from collections.abc import Mapping
from typing import Any

from fer_lab.results.rows import Expected
from fer_lab.schema import difference

#: Keys that differ by what a row is, not by what it changes.
_OWN = ("seed", "parent")


def with_settings(rows: Mapping[str, Expected], baseline: str) -> dict[str, dict[str, str]]:
    """Every row's choices, and its value of each key in which a row differs from the baseline within the same choice.

    A key has no value (an empty string) in rows whose choice does not know it.

    Args:
        rows: row name to what it composes to, for one seed.
        baseline: one of the rows.
    """
    base = rows[baseline]
    keys: dict[str, None] = {}
    for row in rows.values():
        for line in difference(base.deciding, row.deciding):
            key = line.split(": ")[0]
            if key not in _OWN and _same_choice(base, row, key):
                keys[key] = None
    return {name: {**row.choices, **{key: _value(row.deciding, key) for key in keys}} for name, row in rows.items()}


def _same_choice(base: Expected, row: Expected, key: str) -> bool:
    group = key.split(".")[0]
    return base.choices.get(group) == row.choices.get(group)


def _value(deciding: dict[str, Any], key: str) -> str:
    node: Any = deciding
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return "" if node is None else str(node)
