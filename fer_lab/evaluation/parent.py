"""The run whose logits a derived row takes: which it is, that it is there and current, and where its weights lie.

A row with `parent: <row>` differs from that row only in calibration, target precision and smoothing, so it is scored on
the parent's logits of the same seed. Parents may themselves be derived; the weights are those of the run at the chain's
end.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from rich import print as say

from fer_lab.errors import FerLabError
from fer_lab.evaluation.test_split import file_hash
from fer_lab.results.record import read_record
from fer_lab.schema import CONF_DIR, build, compose, deciding_part, difference

#: All that a derived row may change; what the command line says of these is about the row itself, not its parent.
AXES = ("calibration", "target_precision", "smoothing", "parent")
VALIDATION, TEST = "validation_predictions.parquet", "test_predictions.parquet"


@dataclass(frozen=True)
class Parent:
    """A completed run that a row is derived from. Attributes: folder, record: as they lie there."""

    folder: Path
    record: dict[str, Any]

    @property
    def key(self) -> str:
        """The run's key, part of the derived row's."""
        return self.record["key"]

    def frozen_files(self) -> dict[Path, str]:
        """What the logits came from: hash of the validation logits, and of the weights as they were when scored."""
        files = {self.folder / VALIDATION: file_hash(self.folder / VALIDATION)}
        weights = weights_file(self.folder)
        if weights.exists():  # weights may be deleted to save space; the logits stay
            files[weights] = _scored(self.record).get(weights.name) or file_hash(weights)
        return files

    def require_unchanged(self, folder: Path, record: dict[str, Any]) -> None:
        """Raise FerLabError where the parent was trained again, with an equal key, since `record` was derived."""
        if _scored(record)[VALIDATION] != file_hash(self.folder / VALIDATION):
            raise FerLabError(
                f"{folder} was derived from logits that {self.folder} no longer holds, it was trained again; "
                "replace it with rerun=always."
            )


def check_parent(cfg: DictConfig) -> None:
    """Refuse a row that cannot be derived, before anything is read or trained.

    Raises:
        FerLabError: smoothing without a parent; a parent that is the row itself or comes back to it; a parent's row
            that differs in more than calibration and smoothing.
    """
    if cfg.smoothing.method != "none":
        if not cfg.parent:
            raise FerLabError(
                f"{cfg.name}: smoothing={cfg.choices.smoothing} needs a parent, single faces have no time; "
                "add parent=<row whose logits are smoothed>."
            )
        build(cfg.smoothing)
    chain, row = [cfg.name], cfg
    while row is not None and row.parent:
        if row.parent in chain:
            raise FerLabError(f"{cfg.name}: its parents go round in a circle ({' → '.join([*chain, row.parent])}).")
        chain.append(row.parent)
        row = parent_config(row)
        if row is not None:
            require_same(cfg, row, f"its parent's row {chain[-1]}")


def require_same(cfg: DictConfig, other: DictConfig, what: str) -> None:
    """Raise FerLabError, naming the keys, where a row differs from a parent's config in more than it may."""
    old, new = ({key: value for key, value in deciding_part(each).items() if key not in AXES} for each in (other, cfg))
    if lines := difference(old, new):
        raise FerLabError(
            f"{cfg.name}: differs from {what} in more than calibration and smoothing ({'; '.join(lines)}); "
            "give both the same, or drop parent to train the row."
        )


def parent_folder(cfg: DictConfig) -> Path:
    """Run folder of a row's parent: the same seed, and the same variant but for what a derived row may change."""
    kept = [part for part in cfg.variant.split(",") if part.split("=")[0].split(".")[0] not in AXES]
    return Path(cfg.paths.outputs, cfg.parent, ",".join(kept), f"seed{cfg.seed}")


def parent_config(cfg: DictConfig) -> DictConfig | None:
    """The parent as its row composes with the same command line; None where conf/experiment has no such row."""
    if not (CONF_DIR / "experiment" / f"{cfg.parent}.yaml").is_file():
        return None
    own = {*AXES, "experiment", "name", "seed", "rerun", "sweep_keys"}
    words = [word for word in cfg.get("overrides", []) if word.lstrip("+~").split("=")[0].split(".")[0] not in own]
    swept = [key for key in cfg.sweep_keys if key.split(".")[0] not in own]
    rerun = "no" if cfg.rerun == "always" else cfg.rerun  # rerun=always is about the row that was asked for
    mine = [f"experiment={cfg.parent}", f"seed={cfg.seed}", f"rerun={rerun}", f"sweep_keys=[{','.join(swept)}]"]
    return compose("train", [*words, *mine])


def ready_parent(cfg: DictConfig, train: Callable[..., dict]) -> Parent:
    """The parent's completed run of the same seed, trained now where it is a row that has not run yet.

    Args:
        cfg: of the derived row; train: `fer_lab.train.train`. A parent that another process trains is waited for.

    Raises:
        FerLabError: the parent failed, is no row and has no completed run, or was run with another config.
    """
    parent_cfg = parent_config(cfg)
    folder = parent_folder(cfg)
    if folder.is_dir():
        _wait_for(folder)
    if parent_cfg:
        _make_sure(cfg, parent_cfg, train)
    record = read_record(folder)
    if record is None or record["status"] != "completed":
        said = f"is {record['status']}" if record else "holds no run"
        because = f" ({record['error']})" if record and record["error"] else ""
        raise FerLabError(f"{cfg.name}: its parent's folder {folder} {said}{because}; train {cfg.parent} first.")
    if not (folder / VALIDATION).exists():
        raise FerLabError(f"{cfg.name}: {folder} holds no {VALIDATION}; train {cfg.parent} again with rerun=always.")
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    require_same(cfg, saved, f"its parent's run {folder}")
    weights_file(folder)  # refuses a derived parent whose own parent is another by now
    return Parent(folder, record)


def _wait_for(folder: Path) -> None:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=1)  # whoever looks whether it is busy holds it for an instant
    except Timeout:
        say(f"[cyan]running elsewhere[/cyan] {folder}: waiting for it")
        lock.acquire()
    lock.release()


def _make_sure(cfg: DictConfig, parent_cfg: DictConfig, train: Callable[..., dict]) -> None:
    folder = Path(parent_cfg.paths.run)
    record = read_record(folder)
    sentence = f"{cfg.name}: its parent {cfg.parent} failed"
    if record and record["status"] == "failed" and _had_its_turn(cfg, folder):
        raise FerLabError(f"{sentence}: {record['error']}")  # all its children would try again, each for nothing
    try:
        train(parent_cfg, wait=True)
    except Exception as error:
        raise FerLabError(f"{sentence}: {error}") from error
    if os.environ.get("LOCAL_RANK", "0") != "0":
        sys.exit(0)  # a helper process of the parent's distributed training; the first process derives


def _had_its_turn(cfg: DictConfig, folder: Path) -> bool:
    """Whether a run ended in this sweep: in an earlier launch, or in this process."""
    return str(folder) in cfg.skip or (folder / "record.json").stat().st_mtime >= psutil.Process().create_time()


def _scored(record: dict[str, Any]) -> dict[str, str]:
    """Hashes of the files behind a record's own test logits."""
    return next(opening["frozen"] for opening in reversed(record["test_openings"]) if opening["by"] == "train")


def weights_file(folder: Path) -> Path:
    """Where a run's weights lie: its own model.safetensors, or the one at the end of its chain of parents.

    Raises:
        FerLabError: a parent in the chain is gone, or has become another run since.
    """
    record = read_record(folder)
    while record and record.get("parent"):
        above = Path(os.path.normpath(folder / record["parent_folder"]))
        found = read_record(above)
        if found is None or found["status"] != "completed" or found["key"] != record["parent_key"]:
            raise FerLabError(
                f"{folder} was derived from a run of {record['parent']} that {above} no longer holds; train both "
                f"again, {record['experiment']} with rerun=always."
            )
        folder, record = above, found
    return folder / "model.safetensors"
