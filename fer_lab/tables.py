"""`python -m fer_lab.tables sweep=demo`: a sweep's records as csv, Markdown, LaTeX and one self-contained page."""

import shutil
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from fer_lab.errors import FerLabError
from fer_lab.results.collect import Expected, Results, collect
from fer_lab.results.report import write_report
from fer_lab.results.write import terminal, write_tables
from fer_lab.schema import command, compose, config_hash

#: Overrides that say which table, not what its rows are.
_OWN = ("sweep", "experiment", "seed", "report")


def tables(cfg: DictConfig) -> dict:
    """Write a sweep's table and report from the records under `paths.outputs`.

    Returns:
        `folder` and `report` (paths written), `results` (:class:`Results`), `completed` (runs that gave numbers).

    Raises:
        FerLabError: no sweep was named, a row does not compose, or a run's file cannot be read.
    """
    if not cfg.table.rows:
        raise FerLabError("No table to build: name its sweep, for example sweep=demo.")
    results = read(cfg)
    folder = Path(cfg.paths.outputs) / "tables" / cfg.table.name
    write_tables(results, folder)
    report = write_report(results, folder / "report.html")
    if cfg.report:
        Path(cfg.report).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report, cfg.report)
    console = Console()
    console.print(terminal(results, console.width))
    console.print(f"Table: {folder / 'table.md'}\nReport: {cfg.report or report}", highlight=False, soft_wrap=True)
    return {"folder": folder, "report": report, "results": results, "completed": len(results.completed)}


def read(cfg: DictConfig) -> Results:
    """The records of the config's table, each compared with what its row composes to now."""

    @cache
    def expected(row: str, seed: int) -> Expected:
        composed = compose("train", [f"sweep={cfg.table.name}", f"experiment={row}", f"seed={seed}", *_row_overrides()])
        return Expected(config_hash(composed), dict(composed.choices))

    return collect(
        cfg.table.name,
        cfg.table.title,
        cfg.table.baseline,
        list(cfg.table.rows),
        list(cfg.table.seeds),
        Path(cfg.paths.outputs),
        expected,
        track=lambda rows: track(rows, description="Reading runs", transient=True),
    )


def _row_overrides() -> list[str]:
    """What the command line says about the rows themselves (`trainer.max_epochs=2`), as it was said to train."""
    said = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return [override for override in said if override.lstrip("+~").split("=")[0] not in _OWN]


main = command("tables")(tables)
if __name__ == "__main__":
    main()
