"""Ask a run's network and its exported files about a test split: as it is, in a classroom, in parts, twice.

`suite=` says what is asked (conf/suite), `data=` about which faces: the run's own, or another source's, of which only
the classes that both know count. All files go through the same code, and nothing is chosen by what comes out.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from fer_lab.deploy.selection import each_row, find_run
from fer_lab.errors import FerLabError
from fer_lab.evaluation.run import load_run
from fer_lab.evaluation.suites import (
    Suite,
    asked_data,
    exported_files,
    frozen_models,
    open_trial,
    publish_results,
    run_of_model,
    save_results,
)
from fer_lab.models.memory import keep_pages
from fer_lab.results.corruption_error import against_row
from fer_lab.results.record import write_json
from fer_lab.results.robustness_tables import write_across
from fer_lab.results.suite_tables import terminal
from fer_lab.schema import build, command

_SHOWN = ("accuracy", "macro_f1", "nll", "ece")


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Run `suite` on `model=<file>`, or on the run's own network and every file of its export folder.

    Results go to `<run>/evaluation/<suite>[__<data>]`. Clean scores of exported files on the run's own data are
    added to `export/export.json` as well, and each opening of the test split to `record.json`. With `publish=<name>`
    results, tables and figures are kept in `experiments/<name>` too, from which a clone writes the same tables.

    Returns:
        files: {file name: what the suite found, of `suite=clean` the metrics of `compute_metrics`}; folder.

    Raises:
        FerLabError: no such run, an exported file that export.json does not describe, the run's data have changed, or
            the suite refuses its settings.
    """
    keep_pages()
    run = load_run(run_of_model(cfg.model) if cfg.model and not cfg.run else find_run(cfg))
    suite: Suite = build(cfg.suite)
    if cfg.publish and suite.split != "test":
        raise FerLabError(f"publish={cfg.publish}: suite={suite.name} shows faces, which are not kept; leave it out.")
    data = asked_data(cfg, run)
    models = frozen_models(cfg, run)
    trial = open_trial(run, models, data, suite)
    found = suite(trial)
    together = save_results(trial, suite, found)
    if cfg.publish:
        publish_results(Path(cfg.paths.experiments) / cfg.publish, suite, together)
    if suite.name == "clean" and trial.shared is None:
        _into_export(run.folder, {model.path: found[model.name] for model in models})
    console = Console()
    console.print(
        terminal(suite.rows(found), f"{suite.name}, {suite.split} split of {trial.data['name']}, {run.folder}")
    )
    console.print(trial.shared.sentence if trial.shared else "", f"Results: {trial.folder}", soft_wrap=True)
    return {"files": found, "together": together, "folder": trial.folder, "row": run.record["experiment"]}


def every_row(cfg: DictConfig) -> dict[str, Any]:
    """`evaluate`; with `run=all`, of every row of `sweep=`, and the robustness suite's table of them all."""
    if cfg.run == "all" and cfg.publish:
        raise FerLabError("publish=<folder> keeps one run's results: name the run, run=outputs/<experiment>/seed<N>.")
    result = each_row(evaluate)(cfg)
    if cfg.run == "all" and cfg.choices.suite == "robustness":
        folder = Path(cfg.paths.outputs) / "tables" / cfg.table.name
        rows = [(one["row"], one["folder"], one["together"]) for one in result["runs"]]
        result["table"] = write_across(folder, against_row(rows, cfg.table.baseline), cfg.table.baseline)
        Console().print(f"Table: {folder / 'robustness.md'}", highlight=False, soft_wrap=True)
    return result


def _into_export(folder: Path, scores: dict[Path, dict[str, Any]]) -> None:
    """Add test scores to export.json's entries."""
    exported = exported_files(folder)
    for path in exported.keys() & scores.keys():
        exported[path]["test"] = {key: scores[path][key] for key in _SHOWN}
    if exported:
        export = json.loads((folder / "export" / "export.json").read_text())
        export["files"] = {name: exported[folder / "export" / entry["file"]] for name, entry in export["files"].items()}
        write_json(folder / "export" / "export.json", export)


main = command("evaluate")(every_row)

if __name__ == "__main__":
    main()
