"""Which run a command that comes after training works on."""

from pathlib import Path

from omegaconf import DictConfig

from fer_lab.errors import FerLabError
from fer_lab.results.record import read_record


def find_run(cfg: DictConfig) -> Path:
    """The folder `run=` names, or of the best completed run of the rows of `sweep=`, by macro-F1 on validation.

    Rows on the same logits have equal macro-F1: of those the one with the lower validation NLL, the calibrated one.
    Raises FerLabError when neither is given, or none of the sweep's rows has a completed run under paths.outputs.
    """
    if cfg.run:
        return Path(cfg.run)
    if not cfg.table.rows:
        raise FerLabError("say which run: run=outputs/<experiment>/seed<N>, or sweep=<table> for its best row")
    scores = {}
    for row in cfg.table.rows:
        for path in sorted((Path(cfg.paths.outputs) / row).glob("seed*/record.json")):
            record = read_record(path.parent)
            if record is not None and record["status"] == "completed":
                validation = record["metrics"]["validation"]
                scores[path.parent] = (validation["macro_f1"], -validation["nll"])
    if not scores:
        raise FerLabError(
            f"no row of sweep={cfg.table.name} has a completed run under {cfg.paths.outputs}: "
            f"run `python -m fer_lab.train sweep={cfg.table.name}` first"
        )
    return max(scores, key=scores.__getitem__)
