"""A run's folder and its record.json: its key, whether it is done or resumable, and what it measured."""

import functools
import hashlib
import json
import os
import resource
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

import fer_lab
from fer_lab.errors import FerLabError
from fer_lab.fingerprint import syntax
from fer_lab.models.weights import weights_file
from fer_lab.results.environment import environment
from fer_lab.schema import config_hash, deciding_part, difference

#: What decides a trained network, and what is fitted and scored on its logits.
_CODE = (
    "labels.py", "faces", "data", "models", "training", "evaluation/calibration.py", "evaluation/metrics.py",
    "evaluation/decision.py", "evaluation/selective.py", "evaluation/sequences.py", "live/smoothing.py",
)  # fmt: skip
REFUSED = "refused"  # file of a run's folder: why the last attempt left the record as it was, one sentence


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a run's folder; None where there is none. Raises FerLabError for a damaged one."""
    path = folder / "record.json"
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise FerLabError(f"{path} is damaged: {error}; restore it, or run its row with rerun=always.") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON at once: a kill leaves the old file or the new one, never half of one; NaN is refused."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    os.replace(part, path)


class Run:
    """One run's folder while a process works on it; use it as a context manager.

    Leaving the block by an exception makes the record `failed`; by Ctrl-C, or a kill, it stays `running` and the same
    command goes on from the last finished epoch.

    Args:
        cfg: the composed config; data_hash: of the data manifest; parent_key: of the run whose logits this one takes.
        writes: False in all but the first process of a run. wait: for another process that works on this run, instead
            of refusing.
    """

    def __init__(
        self, cfg: DictConfig, data_hash: str, parent_key: str | None = None, writes: bool = True, wait: bool = False
    ) -> None:
        self.cfg, self.writes, self.wait = cfg, writes, wait
        self.folder = Path(cfg.paths.run)
        weights = weights_hash(cfg)
        decided_by = f"{config_hash(cfg)} {data_hash} {weights} {parent_key or ''}".strip()
        self.key = hashlib.sha256(decided_by.encode()).hexdigest()[:16]
        self.record: dict[str, Any] = {
            "schema": 1,
            "status": "running",
            "error": None,
            "key": self.key,
            "token": secrets.token_hex(4),
            "config_hash": config_hash(cfg),
            "data_hash": data_hash,
            "weights_hash": weights,
            "parent_key": parent_key,
            "experiment": cfg.name,
            "variant": cfg.variant,
            "seed": cfg.seed,
            "table": cfg.table.name,
            "choices": OmegaConf.to_container(cfg.choices),
            "metrics": {},
            "test_openings": [],
            "timings_s": {},
            "code": code_fingerprint(),
            "started": _now(),
            **environment(),
        }
        self.finished = False
        self._lock = FileLock(self.folder / ".lock")

    def __enter__(self) -> Self:
        if not self.writes:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=-1 if self.wait else 1)  # 1 s: who looks whether it is busy holds it briefly
        except Timeout as error:
            raise FerLabError(
                f"{self.folder} is being worked on by another process; wait for it, or stop it."
            ) from error
        try:
            self._meet(self._old())
            (self.folder / REFUSED).unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise
        return self

    def _old(self) -> dict[str, Any] | None:
        try:
            return read_record(self.folder)
        except FerLabError:
            if self.cfg.rerun != "always":
                raise
            _clear(self.folder)
            return None

    def _meet(self, old: dict[str, Any] | None) -> None:
        """Decide between skipping, going on, starting over and refusing, by what lies in the folder."""
        if self.cfg.rerun not in ("no", "stale", "always"):
            raise FerLabError(f"rerun={self.cfg.rerun} is unknown; use no, stale or always.")
        if old:
            code = self.record["code"]
            over = self.cfg.rerun == "always" or (self.cfg.rerun == "stale" and old["code"] != code)
            if over or (old["status"] == "failed" and old["key"] != self.key):
                _clear(self.folder)
            elif old["key"] != self.key:
                raise FerLabError(self._refusal(old))
            else:
                self.record, self.finished = old, old["status"] == "completed"
                if self.finished:
                    return
                self.record |= {"status": "running", "error": None}
                if code not in [
                    old["code"],
                    *old.get("resumed_with_code", []),
                ]:  # an interrupted row goes on, and says so
                    old.setdefault("resumed_with_code", []).append(code)
        OmegaConf.save(self.cfg, self.folder / "config.yaml")
        self.save()

    def _refusal(self, old: dict[str, Any]) -> str:
        saved = self.folder / "config.yaml"
        before: Any = OmegaConf.load(saved) if saved.exists() else self.cfg
        lines = difference(deciding_part(before), deciding_part(self.cfg))
        if old["data_hash"] != self.record["data_hash"]:
            lines.append(f"data: {old['data_hash']} -> {self.record['data_hash']}")
        if changed := other_weights(self.cfg, old):
            lines.append(changed)
        if old.get("parent_key") != self.record["parent_key"]:
            change = f"{old.get('parent_key')} -> {self.record['parent_key']}"
            lines.append(f"{self.cfg.parent}, its parent, has run again: {change}")
        return (
            f"{self.folder} holds a {old['status']} run of another config or other data ({'; '.join(lines)}); "
            "give this one another name=..., or replace that one with rerun=always."
        )

    def save(self, **changes: Any) -> None:
        """Merge changes into the record and write it."""
        self.record |= changes
        if self.writes:
            write_json(self.folder / "record.json", self.record)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the block's wall seconds to `timings_s`; a resumed stage adds up over its processes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            timings = self.record["timings_s"]
            timings[stage] = round(timings.get(stage, 0.0) + time.perf_counter() - start, 2)

    def complete(self, **changes: Any) -> None:
        """Write the finished record."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.save(**changes, status="completed", finished=_now(), peak_memory_mb=round(peak))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and self.writes and not self.finished:
            self.save(status="failed", error=_sentence(error), finished=_now())
        self._lock.release()


def weights_hash(cfg: DictConfig) -> str:
    """sha256 of the pretrained weights' file; empty for none and hub."""
    path = weights_file(cfg.backbone.timm_name, cfg.backbone.weights, cfg.backbone.get("weights_dir"))
    return _sha256(path, path.stat().st_mtime_ns) if path and path.is_file() else ""


@functools.cache
def _sha256(path: Path, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def other_weights(cfg: DictConfig, record: dict[str, Any]) -> str:
    """What to say where a record's pretrained weights were other bytes than the file has now; empty else."""
    return changed_weights(record, weights_hash(cfg))


def changed_weights(record: dict[str, Any], now: str) -> str:
    """What to say where a record's pretrained weights were other bytes than the sha256 `now`; empty where one of them
    is not known."""
    before = record.get("weights_hash")
    return f"bytes of its pretrained weights: {before[:16]} -> {now[:16]}" if before and now and before != now else ""


def leave_word(cfg: DictConfig, error: Exception) -> None:
    """Make an error of an attempt show in the run's folder, where the attempt did not get so far as to do it.

    It makes a failed record where there is none or a failed one. Beside a completed or interrupted one it is kept where
    nothing else tells: data are read, and may be refused, only when a run is attempted.
    """
    folder, message = Path(cfg.paths.run), _sentence(error)
    with suppress(FerLabError, Timeout):  # a damaged record says so itself, another process has a word of its own
        record = read_record(folder)
        if record is None:
            with suppress(type(error)), Run(cfg, data_hash=""):
                raise error
        else:
            with FileLock(folder / ".lock", timeout=1):
                if record["status"] == "failed":
                    write_json(folder / "record.json", record | {"error": message})
                elif record["config_hash"] == config_hash(cfg) and not other_weights(cfg, record):
                    (folder / REFUSED).write_text(message + "\n")


def identity(record: dict[str, Any]) -> str:
    """Of one run and no other: its key, which runs on other machines and repeated ones share, and a token, drawn when
    it began and kept when it goes on. Older records have no token."""
    return " ".join(filter(None, (record["key"], record.get("token"))))


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, FerLabError) else f"{type(error).__name__}: {error}"


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


@functools.cache
def code_fingerprint() -> str:
    """16 hex digits over the syntax trees, without docstrings, of everything that decides a trained network; of the
    code as it was when first asked, as that is what runs."""
    root = Path(fer_lab.__file__).resolve().parent
    digest = hashlib.sha256()
    for part in _CODE:
        files = [root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py"))
        for path in files:
            digest.update(syntax(path).encode())
    return digest.hexdigest()[:16]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
