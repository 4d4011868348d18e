"""`make reproduce TABLE=ablation ROWS=...`: train rows of a kept table again and say whether they come out the same.

    python -m fer_lab.results.reproduce ablation ablation_baseline,ablation_ema data.path=... paths.weights=...

Rows are trained with what table.yaml says was said of them, and what follows on the command line, into
outputs/reproduce; `table.seeds=[0]` takes fewer seeds. A row holds when all of them were trained and their mean test
macro-F1 lies inside the interval its results.csv gives.
"""

import csv
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.results.collect import read_json
from fer_lab.results.publish import read_table
from fer_lab.results.spread import spread
from fer_lab.results.verify import kept_tables
from fer_lab.schema import deciding_part, difference

_SCORE = "test_macro_f1"
#: results.csv keeps six digits.
_ROUNDING = 5e-7


@dataclass(frozen=True)
class Judgement:
    """One row's outcome: whether it holds, and the sentence that says so."""

    row: str
    holds: bool
    sentence: str


def find_table(name: str, experiments: Path) -> Path:
    """The folder of the kept table of this name.

    Raises:
        FerLabError: there is none, or there are several.
    """
    tables = kept_tables(experiments)
    found = [folder for folder in tables if folder.name == name]
    if len(found) != 1:
        kept = ", ".join(sorted(folder.name for folder in tables)) or "none"
        many = f"stands in {', '.join(map(str, found))}" if found else "does not exist"
        raise FerLabError(f"Table '{name}' {many} under {experiments}; kept tables: {kept}.")
    return found[0]


def command(folder: Path, rows: Sequence[str], arguments: Sequence[str], outputs: Path) -> list[str]:
    """The training command of these rows and of those on whose logits they are scored.

    Raises:
        FerLabError: a row is not in the table, or has no kept record.
    """
    table = read_table(folder)
    wanted: list[str] = list(rows)
    for row in wanted:  # grows by parents, and theirs
        if row not in table["rows"]:
            raise FerLabError(f"{folder.name} has no row '{row}'; its rows: {', '.join(table['rows'])}.")
        records = _records(folder / "records", row)
        if not records:
            raise FerLabError(f"{folder} holds no record of '{row}', so there is nothing to compare with.")
        parents = {str(record["parent"]) for record in records.values() if record.get("parent")}
        wanted += sorted(parents - {*wanted})
    ordered = [row for row in table["rows"] if row in wanted]
    return [
        sys.executable,
        "-m",
        "fer_lab.train",
        f"sweep={table['name']}",
        f"table.rows=[{','.join(ordered)}]",
        f"table.seeds=[{','.join(map(str, table['seeds']))}]",
        f"paths.outputs={outputs}",
        "rerun=stale",
        *table["overrides"],
        *arguments,
    ]


def judge(folder: Path, row: str, outputs: Path, seeds: Sequence[int] | None = None) -> Judgement:
    """Compare the retrained seeds of a row with its kept interval. seeds: those asked for; None for all kept ones."""
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        kept = next((line for line in csv.DictReader(file) if line["row"] == row), {})
    old, new = _records(folder / "records", row), _records(outputs, row)
    shared = sorted(old.keys() & new.keys())
    if not shared:
        return Judgement(row, False, f"not retrained: {outputs / row} holds no completed run of a seed of the table")
    for seed in shared:
        if differing := _difference(folder / "records" / row / f"seed{seed}", outputs / row / f"seed{seed}"):
            return Judgement(row, False, f"not comparable: seed {seed} was trained with {', '.join(differing)}")
    if missing := sorted((old.keys() if seeds is None else old.keys() & {*seeds}) - new.keys()):
        return Judgement(row, False, f"not retrained: seed {', '.join(map(str, missing))}; see {outputs / row}")
    low, high = kept.get(f"{_SCORE}_low"), kept.get(f"{_SCORE}_high")
    score = spread([new[seed]["metrics"]["test"]["macro_f1"] for seed in shared])
    assert score is not None
    of = f"{score.text(4)} over {len(shared)} of {len(old)} seeds"
    if not (low and high):
        return Judgement(row, False, f"{of}; the kept table has no interval to judge it by")
    inside = float(low) - _ROUNDING <= score.mean <= float(high) + _ROUNDING
    word = "inside" if inside else "OUTSIDE"
    was = f"{float(kept[f'{_SCORE}_mean']):.4f} [{float(low):.4f}, {float(high):.4f}]"
    return Judgement(row, inside, f"test macro-F1 {of}: {word} the kept {was}")


def _records(root: Path, row: str) -> dict[int, dict[str, Any]]:
    """Completed records by seed."""
    found = [read_json(path) for path in (root / row).glob("seed*/record.json")]
    return {record["seed"]: record for record in found if record["status"] == "completed"}


def _difference(kept: Path, retrained: Path) -> list[str]:
    """In what two runs' configs and data differ; a run without config.yaml is compared by its hash."""
    records = [read_json(folder / "record.json") for folder in (kept, retrained)]
    found = []
    if records[0]["config_hash"] != records[1]["config_hash"]:
        paths = [folder / "config.yaml" for folder in (kept, retrained)]
        configs = [OmegaConf.load(path) for path in paths if path.is_file()]
        parts = [deciding_part(config) for config in configs if isinstance(config, DictConfig)]
        found = difference(parts[0], parts[1]) if len(parts) == 2 else ["a config of another form"]
    if records[0]["data_hash"] != records[1]["data_hash"]:
        found.append(f"data: {records[0]['data_hash']} -> {records[1]['data_hash']}")
    weights = [record.get("pretraining") for record in records]
    if all(weights) and weights[0] != weights[1]:
        found.append("pretraining: " + " -> ".join(map(_named, weights)))
    return found


def _named(pretraining: Any) -> str:
    """As a record has it: "none", or the weights' name and sha256."""
    return (
        str(pretraining) if isinstance(pretraining, str) else f"{pretraining['weights']} {pretraining['sha256'][:16]}"
    )


def main(arguments: Sequence[str], experiments: Path = Path("experiments")) -> int:
    """Train and judge; the exit code: 0 when training ended well and every row holds."""
    table, rows, *said = [*arguments, "", ""] if len(arguments) < 2 else arguments
    folder = find_table(table, experiments)
    asked = [row for row in rows.split(",") if row] or [
        row for row in read_table(folder)["rows"] if _records(folder / "records", row)
    ]
    said = [word for word in said if word]
    outputs = Path(_said(said, "paths.outputs") or "outputs/reproduce")
    seeds = yaml.safe_load(_said(said, "table.seeds") or "null")
    words = command(folder, asked, said, outputs)
    print(" ".join(["python", *words[1:]]), flush=True)
    trained = subprocess.run(words, check=False).returncode
    if trained:
        print(f"Training ended with exit code {trained}, so nothing is reproduced; what lies in {outputs}:")
    judged = [judge(folder, row, outputs, seeds) for row in asked]
    for one in judged:
        print(f"{one.row}: {one.sentence}")
    return 0 if not trained and all(one.holds for one in judged) else 1


def _said(words: Sequence[str], key: str) -> str:
    """The value that was last given to a key; empty where there is none."""
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith(f"{key}=")), "")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FerLabError as error:
        print(f"fer-lab reproduce: {error}", file=sys.stderr)
        sys.exit(1)
