"""Suites' rows in the terminal: numbers are whole, whatever its width."""

import io

from rich.console import Console

from fer_lab.results.suite_tables import terminal


def test_a_wide_table_keeps_its_numbers_whole_in_80_columns() -> None:
    scores = {"ms_a_face": 45.125, "accuracy": 0.6504, "macro_f1": 0.6126, "nll": 0.9876, "ece": 0.0314}
    gains = {"macro_f1_gained": None, "gained_low": None, "gained_high": None}
    won = {"macro_f1_gained": 0.0123, "gained_low": 0.0071, "gained_high": 0.0215}
    rows = [
        {"file": file, "views": views, "forwards": 10, **scores, **gain}
        for file in ("model.safetensors", "model.onnx", "model_int8.onnx")
        for views, gain in (("one look", gains), ("flip", won), ("flip and shifts", won))
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(terminal(rows, "tta"))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed
    for number in ("45.125", "0.650", "0.613", "0.988", "0.031", "0.012", "0.007", "0.021"):
        assert number in printed
