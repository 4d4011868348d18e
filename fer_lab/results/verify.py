"""`make verify`: what can be rebuilt from what is kept is rebuilt, and must come out the same, to the byte.

Tables come from their records, tables of a suite from its kept results, audits of papers from what the papers print.
Figures are left out: how a line is drawn is up to the version of matplotlib.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fer_lab.errors import FerLabError
from fer_lab.evaluation.significance import SCORES
from fer_lab.results.compare import read_answers
from fer_lab.results.publish import rebuild
from fer_lab.results.published import load_published
from fer_lab.results.robustness_tables import write_robustness
from fer_lab.results.rows import Results
from fer_lab.results.suite_files import read_results
from fer_lab.results.suite_tables import write_subgroups, write_tta
from fer_lab.results.temporal_tables import write_temporal
from fer_lab.results.write import write_tables

Found = dict[str, dict[str, Any]]
#: What writes a suite's tables into a folder, by its name (conf/suite).
_SUITES: Mapping[str, Callable[[Path, Found], list[Path]]] = {
    "robustness": write_robustness,
    "subgroups": write_subgroups,
    "temporal": write_temporal,
    "tta": write_tta,
}
_FIGURES = (".png",)
#: How far a recorded score may be from the one its predictions give.
_ROUNDING = 1e-6


def kept_tables(experiments: Path) -> list[Path]:
    """Folders `<paper>/<table>`, or `<table>` of no paper, of kept tables, sorted."""
    return sorted(path.parent for depth in ("*", "*/*") for path in experiments.glob(f"{depth}/table.yaml"))


def kept(experiments: Path) -> list[Path]:
    """Folders that can be rebuilt: of kept tables, of suites' kept results, and of papers with an audit; sorted."""
    folders = sorted({path.parent for depth in ("*", "*/*") for path in experiments.glob(f"{depth}/*.*")})
    rebuilt = (folder for folder in folders if _is_audit(folder) or _suite(folder) in _SUITES)
    return sorted({*kept_tables(experiments), *rebuilt})


def not_rebuilt(experiments: Path) -> list[Path]:
    """Folders of kept results that only the data, or the machine, can give again; sorted."""
    there = {path.parent for depth in ("*", "*/*") for path in experiments.glob(f"{depth}/*.json")}
    return sorted(there - {*kept(experiments)})


def _is_audit(folder: Path) -> bool:
    return (folder / "published.yaml").is_file() and (folder / "audit.md").is_file()


def _suite(folder: Path) -> str | None:
    """The suite whose results a folder keeps; None where it keeps none."""
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise FerLabError(f"{path} is not valid JSON ({error}); restore it.") from error
        if "suite" in content:
            return str(content["suite"])
    return None


def verify(experiments: Path) -> list[Path]:
    """Rebuild everything of :func:`kept`, say how each compares with what is kept, and name what is not rebuilt.

    Raises:
        FerLabError: a file differs from what its records give; all such files have been named.
    """
    folders, console = kept(experiments), Console(stderr=True)
    differing = []
    for folder in folders:
        found = problems(folder)
        console.print(f"{folder}: {'differs' if found else 'as its records say'}", highlight=False, soft_wrap=True)
        for problem in found:
            console.print(f"  {problem}", highlight=False, soft_wrap=True, markup=False)
        differing += [str(folder)] if found else []
    for folder in not_rebuilt(experiments):
        console.print(f"{folder}: not rebuilt, its README says from what", highlight=False, soft_wrap=True)
    if differing:
        raise FerLabError(
            f"Kept files differ from their records: {', '.join(differing)}; after a change of how tables are written, "
            "write one again (tables publish=<its folder>, or the command of its README), otherwise restore its files."
        )
    if not folders:
        console.print(f"No table is kept under {experiments}: there is nothing to verify.", soft_wrap=True)
    return folders


def problems(folder: Path) -> list[str]:
    """What is kept in a folder of :func:`kept` and does not follow: a sentence a differing file with its first
    differing line, and in a table one for each run whose recorded scores are not those of its predictions.

    Raises:
        FerLabError: the records cannot be read.
    """
    if (folder / "table.yaml").is_file():
        results = rebuild(folder)
        return _wrong_scores(results) + _differing(folder, lambda place: write_tables(results, place))
    if _is_audit(folder):
        return _differing(folder, lambda place: _write_audit(folder, place))
    found = read_results(folder)
    return _differing(folder, lambda place: _SUITES[str(_suite(folder))](place, found))


def _write_audit(folder: Path, place: Path) -> list[Path]:
    from fer_lab.results.paper_audit import find, markdown  # torch: its rules build the networks that papers name

    paper = load_published(folder)
    (place / "audit.md").write_text(markdown(folder.name, paper, find(paper)), encoding="utf-8", newline="\n")
    return [place / "audit.md"]


def _differing(folder: Path, write: Callable[[Path], list[Path]]) -> list[str]:
    """A sentence for each file that `write` writes otherwise than it is kept in `folder`."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for path in write(Path(temporary)):
            if path.suffix in _FIGURES:
                continue
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
