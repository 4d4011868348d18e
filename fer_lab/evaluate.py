"""Score a run's network and its exported files on the test split, all through the same code."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lab.data.dataset import build_data
from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.selection import find_run
from fer_lab.errors import FerLabError
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.test_split import Frozen, file_hash, open_test_split
from fer_lab.results.record import write_json
from fer_lab.schema import command

_SHOWN = ("accuracy", "macro_f1", "nll", "ece")


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Score `model=<file>`, or the run's own network and every file of its export folder.

    The scores of exported files are added to `export/export.json`, each opening of the test split to `record.json`.

    Returns:
        {file name: metrics of `compute_metrics`}.

    Raises:
        FerLabError: no such run, an exported file that export.json does not describe, or other data than the run's.
    """
    run = load_run(find_run(cfg))
    data = build_data(run.cfg)
    if data.meta["hash"] != run.record["data_hash"]:
        raise FerLabError(
            f"{run.folder}: its data has changed since (manifest {run.record['data_hash']}, now {data.meta['hash']}); "
            "train again on what is there now."
        )
    exported = _exported(run.folder)
    paths = [Path(cfg.model)] if cfg.model else [run.weights, *exported]
    scores: dict[str, Any] = {}
    for path in paths:
        # the folder, not its weights, which may be a parent's: the run's own temperature counts
        classifier = Classifier.load(run.folder if path == run.weights else path, class_names=run.class_names)
        temperature = classifier.metadata.temperature
        # a file that export.json describes must still be that file; others are frozen as they are now
        frozen = Frozen({path: exported[path]["sha256"] if path in exported else file_hash(path)}, temperature)
        test = open_test_split(data, frozen, f"evaluate {path.name}", run.record["test_openings"])
        logits = predict(classifier.logits, test, f"Test, {path.name}")
        scores[path.name] = compute_metrics(logits, test.labels, run.class_names, temperature)
        if path in exported:
            exported[path]["test"] = {key: scores[path.name][key] for key in _SHOWN}
    write_json(run.folder / "record.json", run.record)
    if exported:
        export = json.loads((run.folder / "export" / "export.json").read_text())
        export["files"] = {
            name: exported[run.folder / "export" / entry["file"]] for name, entry in export["files"].items()
        }
        write_json(run.folder / "export" / "export.json", export)
    _show(run.folder, scores)
    return {"files": scores}


def _exported(folder: Path) -> dict[Path, dict[str, Any]]:
    """Files that export.json describes, with their entries."""
    path = folder / "export" / "export.json"
    files = json.loads(path.read_text())["files"].values() if path.exists() else []
    return {folder / "export" / entry["file"]: entry for entry in files}


def _show(folder: Path, scores: dict[str, Any]) -> None:
    table = Table(title=f"Test split, {folder}")
    table.add_column("file")
    for name in _SHOWN:
        table.add_column(name, justify="right")
    for file, metrics in scores.items():
        table.add_row(file, *(f"{metrics[name]:.4f}" for name in _SHOWN))
    Console().print(table)


main = command("evaluate")(evaluate)

if __name__ == "__main__":
    main()
