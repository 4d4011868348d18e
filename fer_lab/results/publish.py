"""Records that are kept: the small files of a table's completed runs, from which a clone rebuilds the same table.

A kept table is a folder `experiments/<paper>/<table>/` of `table.yaml` (which rows and seeds, and what the command line
said about them), `records/<row>/seed<N>/` and the generated files. Nothing in it names a place on a machine.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from omegaconf import DictConfig, OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.results.collect import LOOKS, collect, read_json
from fer_lab.results.published import load_published
from fer_lab.results.rows import COMPLETED, STALE, Expected, Results, Run
from fer_lab.results.scrub import scrub, without_places
from fer_lab.results.write import write_tables
from fer_lab.schema import deciding_part

_JSON = ("record.json", "benchmark.json", "export/export.json", LOOKS)
_PREDICTIONS = ("validation_predictions.parquet", "test_predictions.parquet")
_COMMENT = "# Written by `python -m fer_lab.tables sweep={name} publish=...`; with records/ it gives the table.\n"


def publish(results: Results, folder: Path, paper: str | None, seeds: Sequence[int], overrides: Sequence[str]) -> Path:
    """Copy the runs into `folder`, of those that are not completed only their record, and write the table from it.

    Args:
        results: the table; paper: the folder of its published numbers; seeds: the sweep's.
        overrides: what the command line said about the rows; what only says where things are is left out.

    Raises:
        FerLabError: no run is completed, one is stale, or `folder` holds records that no table.yaml belongs to.
    """
    runs = [run for row in results.rows for run in row.runs if run.record]
    if stale := [run for run in runs if run.status == STALE]:
        raise FerLabError(
            f"{stale[0].folder} is stale ({stale[0].reason or 'another config'}), which a kept table cannot tell; "
            "train it again with rerun=always, or give the overrides that it was trained with."
        )
    if not results.completed:
        raise FerLabError(f"No row of table '{results.name}' is completed: there is nothing to publish in {folder}.")
    records = folder / "records"
    if records.exists() and not (folder / "table.yaml").is_file():
        raise FerLabError(f"{records} is there, but no table.yaml beside it: publish into a folder of its own.")
    shutil.rmtree(records, ignore_errors=True)
    for run in runs:
        _copy(run, records / run.folder)
    table = {
        "name": results.name,
        "title": results.title,
        "paper": paper,
        "baseline": results.baseline,
        **({"reference": results.reference} if results.reference else {}),
        "seeds": [int(seed) for seed in seeds],
        "overrides": without_places(overrides),
        "rows": {row.name: dict(row.choices) for row in results.rows},
    }
    text = yaml.safe_dump(table, sort_keys=False, allow_unicode=True, width=120)
    (folder / "table.yaml").write_text(_COMMENT.format(name=results.name) + text, encoding="utf-8", newline="\n")
    write_tables(rebuild(folder), folder)
    return folder


def rebuild(folder: Path) -> Results:
    """The table of a folder's kept records: what `publish` writes, and `verify` compares with.

    Raises:
        FerLabError: `table.yaml` is missing, or a record cannot be read.
    """
    table = read_table(folder)
    rows: dict[str, dict[str, str]] = table["rows"]

    def expected(row: str, seed: int) -> Expected:
        kept = read_json(folder / "records" / row / f"seed{seed}" / "record.json")
        return Expected(kept.get("config_hash", ""), rows[row])

    return collect(
        table["name"],
        table["title"],
        table["baseline"],
        list(rows),
        table["seeds"],
        folder / "records",
        expected,
        published=published_rows(folder.parent.parent, table["paper"]),
        reference=table.get("reference"),
    )


def read_table(folder: Path) -> dict[str, Any]:
    """A kept table's `table.yaml`."""
    path = folder / "table.yaml"
    if not path.is_file():
        raise FerLabError(f"{path} does not exist; python -m fer_lab.tables sweep=<table> publish={folder} writes it.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def published_rows(experiments: Path, paper: str | None) -> dict[str, Any]:
    """A paper's printed values by row of ours; empty without a paper or its published.yaml."""
    if paper is None or not (experiments / paper / "published.yaml").is_file():
        return {}
    return dict(load_published(experiments / paper).compare)


def _copy(run: Run, target: Path) -> None:
    completed = run.status == COMPLETED
    target.mkdir(parents=True)
    for name in _JSON if completed else _JSON[:1]:
        if content := read_json(run.path / name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(json.dumps(scrub(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if not completed:
        return
    if (run.path / "history.csv").is_file():
        shutil.copyfile(run.path / "history.csv", target / "history.csv")
    if (run.path / "config.yaml").is_file():
        _copy_config(run.path / "config.yaml", target / "config.yaml")
    for name in _PREDICTIONS:
        if (run.path / name).is_file():
            _copy_predictions(run.path / name, target / name)


def _copy_config(source: Path, target: Path) -> None:
    """Only what decides the result, and the names it goes by: the rest says where things were on one machine."""
    config = OmegaConf.load(source)
    assert isinstance(config, DictConfig)
    names = {key: config[key] for key in ("name", "variant", "choices") if key in config}
    kept = scrub({**OmegaConf.to_container(OmegaConf.create(names)), **deciding_part(config)})  # type: ignore[dict-item]
    target.write_text(yaml.safe_dump(kept, sort_keys=True, allow_unicode=True), encoding="utf-8", newline="\n")


def _copy_predictions(source: Path, target: Path) -> None:
    """Groups as numbers, logits of a face in half precision unless its answer changes, answers where they are not
    the largest logits; equal input, equal bytes."""
    table = pq.read_table(source)
    logits = [name for name in table.column_names if name.startswith("logit_")]
    full = np.stack([table[name].to_numpy() for name in logits], axis=1)
    with np.errstate(over="ignore"):
        half = full.astype(np.float16).astype(full.dtype)
    safe = np.isfinite(half).all(1) & (half.argmax(1) == full.argmax(1))
    kept = np.where(safe[:, None], half, full)  # float32 still, but most of its bytes are zero and cost nothing
    columns: dict[str, Any] = {name: table[name].cast(pa.string()) for name in ("sample_id", "label")}
    if "group" in table.column_names:
        _, first, code = np.unique(np.array(table["group"].to_pylist()), return_index=True, return_inverse=True)
        columns["group"] = pa.array(first[code].astype(np.int32))  # the place of the group's first face
    names = np.array([name.removeprefix("logit_") for name in logits])
    if "predicted" in table.column_names and not np.array_equal(table["predicted"].to_pylist(), names[full.argmax(1)]):
        columns["predicted"] = table["predicted"].cast(pa.string())  # calibration changes the most probable class
    columns |= {name: pa.array(kept[:, i]) for i, name in enumerate(logits)}
    encodings = {"sample_id": "DELTA_BYTE_ARRAY", **({"group": "DELTA_BINARY_PACKED"} if "group" in columns else {})}
    encodings |= dict.fromkeys(logits, "BYTE_STREAM_SPLIT")
    words = [name for name in ("label", "predicted") if name in columns]
    pq.write_table(
        pa.table(columns), target, compression="zstd", compression_level=19, use_dictionary=words,
        column_encoding=encodings, write_statistics=False, store_schema=False,
    )  # fmt: skip
