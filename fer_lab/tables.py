"""`python -m fer_lab.tables sweep=demo`: a sweep's records as csv, Markdown, LaTeX and one self-contained page."""

from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from fer_lab.errors import FerLabError
from fer_lab.results.collect import collect
from fer_lab.results.publish import publish, published_rows, rebuild
from fer_lab.results.record import code_fingerprint, weights_hash
from fer_lab.results.report import write_reports
from fer_lab.results.rows import FAILED, STALE, Expected, Results
from fer_lab.results.settings import with_settings
from fer_lab.results.verify import verify
from fer_lab.results.write import terminal, write_tables
from fer_lab.schema import command, compose, config_hash, deciding_part

#: Overrides that say which table, not what its rows are.
_OWN = ("sweep", "experiment", "seed", "report", "publish", "verify", "logger", "table.examples")


def tables(cfg: DictConfig) -> dict:
    """Write a sweep's table and report from the records under `paths.outputs`; `publish` keeps both in a folder.

    With `verify`, rebuild every kept table of `paths.experiments` instead; `publish` without a sweep writes a kept
    table again from its own records.

    Returns:
        `folder` and `report` (paths written), `results` (:class:`Results`), `completed` (runs that gave numbers); of
        `verify`, `verified` (folders).

    Raises:
        FerLabError: no sweep was named, a row does not compose, a run's file cannot be read, or a kept table differs.
    """
    if cfg.verify:
        return {"verified": verify(Path(cfg.paths.experiments))}
    if not cfg.table.rows and cfg.publish:
        results = rebuild(Path(cfg.publish))
        write_tables(results, Path(cfg.publish))
        return {"folder": Path(cfg.publish), "results": results, "completed": len(results.completed)}
    if not cfg.table.rows:
        raise FerLabError("No table to build: name its sweep, for example sweep=demo.")
    results = read(cfg)
    folder = Path(cfg.paths.outputs) / "tables" / cfg.table.name
    write_tables(results, folder)
    report = write_reports(results, folder / "report.html", cfg)
    console = Console()
    console.print(terminal(results, console.width))
    _say_problems(results, console)
    if cfg.publish:
        publish(results, Path(cfg.publish), cfg.table.paper, list(cfg.table.seeds), _row_overrides())
        console.print(f"Kept: {cfg.publish}", highlight=False, soft_wrap=True)
    if "wandb" in (cfg.logger or {}):
        from fer_lab.training.wandb_run import publish_table  # torch and Lightning, which a table does without

        publish_table(cfg, results, folder)
    console.print(f"Table: {folder / 'table.md'}\nReport: {cfg.report or report}", highlight=False, soft_wrap=True)
    return {"folder": folder, "report": report, "results": results, "completed": len(results.completed)}


def _say_problems(results: Results, console: Console) -> None:
    """Name the keys in which stale runs differ from what their rows compose to now, and what failed ones said."""
    found = [(row.name, run) for row in results.rows for run in row.runs if run.status in (STALE, FAILED)]
    for name, run in found:
        console.print(f"{name}, {run.problem}", markup=False, highlight=False, soft_wrap=True)
    if any(run.status == STALE for _, run in found):
        console.print("Stale: give the overrides that train was given, or train these rows with rerun=always.")


def read(cfg: DictConfig) -> Results:
    """The records of the config's table, each compared with what its row composes to now."""

    @cache
    def expected(row: str, seed: int) -> Expected:
        composed = compose("train", [f"sweep={cfg.table.name}", f"experiment={row}", f"seed={seed}", *_row_overrides()])
        weights = ""
        with suppress(FerLabError):  # no such folder here
            weights = weights_hash(composed)
        return Expected(config_hash(composed), dict(composed.choices), deciding_part(composed), weights)

    rows, seeds = list(cfg.table.rows), list(cfg.table.seeds)
    if not (rows and seeds):
        raise FerLabError(f"table.{'seeds' if rows else 'rows'}=[] leaves nothing to show; name some, or leave it out.")
    if cfg.table.baseline not in [None, *rows] and any(word.startswith("table.baseline=") for word in cfg.overrides):
        raise FerLabError(f"table.baseline={cfg.table.baseline} is not one of the rows: {', '.join(rows)}.")
    first = {row: expected(row, seeds[0]) for row in track(rows, description="Composing rows", transient=True)}
    baseline = cfg.table.baseline if cfg.table.baseline in rows else rows[0]
    choices = with_settings(first, baseline)
    table = (cfg.table.name, cfg.table.title, baseline, rows, seeds, Path(cfg.paths.outputs))

    return collect(
        *table,
        lambda row, seed: replace(expected(row, seed), choices=choices[row]),
        track=lambda rows: track(rows, description="Reading runs", transient=True),
        published=published_rows(Path(cfg.paths.experiments), cfg.table.paper),
        code=code_fingerprint(),
        reference=cfg.table.reference,
    )


def _row_overrides() -> list[str]:
    """What the command line says about the rows themselves (`trainer.max_epochs=2`), as it was said to train."""
    said = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return [override for override in said if override.lstrip("+~").split("=")[0] not in _OWN]


main = command("tables")(tables)
if __name__ == "__main__":
    main()
