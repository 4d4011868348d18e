"""Errors in the scenarios relative to a baseline's: CE, mCE and their relative forms, from results alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def corruption_error(result: Mapping[str, Any], baseline: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Errors relative to a baseline's: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations", section 4.

    CE_c = Σ_s E_s,c / Σ_s E⁰_s,c over severities s, with E⁰ the baseline's; mCE is the mean of CE_c over scenarios c.
    The relative CE takes off the clean errors first: Σ_s (E_s,c - E_clean) / Σ_s (E⁰_s,c - E⁰_clean).

    Returns:
        ce and relative_ce by scenario, in shares (1: as many errors as the baseline), mce and relative_mce; None where
        the baseline makes, or gains, no error that could be divided by. `scenarios` are those both have.
    """
    both = [scenario for scenario in result["scenarios"] if scenario in baseline["scenarios"]]

    def errors(of: Mapping[str, Any], scenario: str) -> np.ndarray:
        return 1 - np.array([level["accuracy"] for level in of["scenarios"][scenario]["severities"]])

    ce, relative = {}, {}
    for scenario in both:
        own, base = errors(result, scenario), errors(baseline, scenario)
        ce[scenario] = _ratio(own.sum(), base.sum())
        lost = [(e - (1 - of["clean"]["accuracy"])).sum() for e, of in ((own, result), (base, baseline))]
        relative[scenario] = _ratio(*lost)
    return {
        "baseline": name,
        "run_key": baseline["run_key"],
        "scenarios": both,
        "ce": ce,
        "relative_ce": relative,
        "mce": _mean(ce),
        "relative_mce": _mean(relative),
    }


def against_row(
    rows: Sequence[tuple[str, Path, Mapping[str, Mapping[str, Any]]]], baseline: str | None
) -> list[tuple[str, Path, dict[str, dict[str, Any]]]]:
    """Results of a table's rows with their errors relative to the baseline row's own network.

    Args:
        rows: (row, its results' folder, results by file); baseline: a row's name. `mce` becomes None for a row that was
            asked about other faces, or ones drawn by other code, and for all where the baseline row has no results.
    """
    named = next((found for row, _, found in rows if row == baseline), {})
    base = named.get("model.safetensors")
    told = []
    for row, folder, found in rows:
        fits = {file: base is not None and _asked(result) == _asked(base) for file, result in found.items()}
        both = {
            file: {**result, "mce": corruption_error(result, base, str(baseline)) if base and fits[file] else None}
            for file, result in found.items()
        }
        told.append((row, folder, both))
    return told


def _asked(result: Mapping[str, Any]) -> tuple[str, str | None]:
    """Which faces, drawn over by which code."""
    return result["data"]["faces"], result.get("drawn_by")


def _ratio(own: float, base: float) -> float | None:
    return float(own / base) if base > 1e-12 else None


def _mean(values: Mapping[str, float | None]) -> float | None:
    known = [value for value in values.values() if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
