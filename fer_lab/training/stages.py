"""Stages that rows share: what is decided by the same things is trained once, by whichever row comes first.

`<paths.cache>/stages/<key>/` holds a finished stage's best checkpoint and summary. The key hashes all that decides it:
what came before, data, seed, network, loss, views, optimizer and code, but not what the row does afterwards.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock
from omegaconf import DictConfig

from fer_lab.results.record import code_fingerprint, weights_hash
from fer_lab.schema import deciding_part
from fer_lab.training.schedule import Stage

_AFTERWARDS = ("schedule", "calibration", "target_precision", "smoothing", "parent")


def stage_key(cfg: DictConfig, data_hash: str, stage: Stage, before: str) -> str:
    """16 hex digits over what decides a stage; `before` is the key of the stage it starts from, empty for the first."""
    decides = {key: value for key, value in deciding_part(cfg).items() if key not in _AFTERWARDS}
    decides["trainer"] = {key: value for key, value in decides["trainer"].items() if key != "max_epochs"}
    parts = [decides, data_hash, weights_hash(cfg), asdict(stage), before, code_fingerprint()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class StageStore:
    """Finished stages of all rows.

    Args:
        folder: `<paths.cache>/stages`; enabled: False leaves every stage to its own row.
    """

    def __init__(self, folder: Path, enabled: bool) -> None:
        self.folder, self.enabled = folder, enabled

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Hold the stage while it is looked up or trained: another process that wants the same one waits for it."""
        if not self.enabled:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f"{key}.lock"):
            yield

    def take(self, key: str, checkpoints: Path) -> bool:
        """Put the kept stage into a run's folder; False where none is kept."""
        kept = self.folder / key
        if not self.enabled or not (kept / "done.json").exists():
            return False
        checkpoints.mkdir(parents=True, exist_ok=True)
        for name in ("best.ckpt", "done.json"):  # done.json last: it says that the stage is whole
            _link(kept / name, checkpoints / name)
        return True

    def give(self, key: str, checkpoints: Path) -> None:
        """Keep a run's finished stage."""
        if not self.enabled:
            return
        (self.folder / key).mkdir(parents=True, exist_ok=True)
        for name in ("best.ckpt", "done.json"):
            _link(checkpoints / name, self.folder / key / name)


def _link(source: Path, target: Path) -> None:
    """The same file twice where the file system can, else a copy; at once either way."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    os.replace(part, target)
