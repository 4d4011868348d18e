"""`make verify`: every kept table is rebuilt from its records and must come out the same, to the byte."""

import tempfile
from itertools import product, zip_longest
from pathlib import Path

import numpy as np

from fer_lab.evaluation.significance import SCORES
from fer_lab.results.compare import read_answers
from fer_lab.results.publish import rebuild
from fer_lab.results.rows import Results
from fer_lab.results.write import write_tables

#: How far a recorded score may be from the one its predictions give.
_ROUNDING = 1e-6


def kept_tables(experiments: Path) -> list[Path]:
    """Folders `<paper>/<table>`, or `<table>` of no paper, of kept tables, sorted."""
    return sorted(path.parent for depth in ("*", "*/*") for path in experiments.glob(f"{depth}/table.yaml"))


def problems(folder: Path) -> list[str]:
    """What of a kept table its records do not give: a sentence a differing file with its first differing line, and one
    for each run whose recorded scores are not those of its predictions.

    Raises:
        FerLabError: the records cannot be read.
    """
    results = rebuild(folder)
    found = _wrong_scores(results)
    with tempfile.TemporaryDirectory() as temporary:
        for path in write_tables(results, Path(temporary)):
            kept = folder / path.name
            if not kept.is_file():
                found.append(f"{kept} is missing")
            elif kept.read_bytes() != path.read_bytes():
                found.append(f"{kept}{_first_difference(kept, path)}")
    return found


def _first_difference(kept: Path, rebuilt: Path) -> str:
    """`, line 3: '...' is kept, the records give '...'`."""
    texts = [path.read_bytes().decode("utf-8", errors="replace").split("\n") for path in (kept, rebuilt)]
    for number, (ours, theirs) in enumerate(zip_longest(*texts, fillvalue="<no line>"), 1):
        if ours != theirs:
            at = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(map(len, (ours, theirs)))
            )
            start = max(at - 30, 0)
            return f", line {number}: '{ours[start : at + 30]}' is kept, the records give '{theirs[start : at + 30]}'"
    return ": other bytes for the same text"


def _wrong_scores(results: Results) -> list[str]:
    found = []
    for run, split in product(results.completed, ("validation", "test")):
        answers = read_answers(run.path / f"{split}_predictions.parquet")
        if answers is None:
            continue
        counts = answers.counts.sum(axis=0)
        for name, score in SCORES.items():
            recorded, given = run.metric(split, name), float(score(counts))
            if recorded is not None and not np.isclose(recorded, given, rtol=0, atol=_ROUNDING):
                said = f"{split} {name} is recorded as {recorded:.6f}, its predictions give {given:.6f}"
                found.append(f"{run.path}: {said}")
    return found
