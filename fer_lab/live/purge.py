"""`python -m fer_lab.live.purge`: delete what has been kept for longer than it may be."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fer_lab.errors import FerLabError
from fer_lab.extras import optional
from fer_lab.live.sink import PRIVACY
from fer_lab.schema import command


def purge(cfg: DictConfig) -> dict[str, Any]:
    """Delete lessons of `store`, and runs in or below the folder `sink`, that are too old; with `dry`, only name them.

    Too old is whatever started longer ago than privacy.retention_days, or than the retention it was recorded with,
    whichever is shorter. Of a sink folder only the files go that its privacy.json lists. Lessons that stay, and whose
    run was killed long ago, get their end (:meth:`Store.end_lost`).

    Returns:
        `lessons` (ids), `runs` (folders).

    Raises:
        FerLabError: neither store nor sink is given, or one of them is not there.
    """
    if not (cfg.store or cfg.sink):
        raise FerLabError("Nothing to purge: say store=<file or database URL>, or sink=<folder of runs>.")
    now, days = datetime.now(UTC), cfg.privacy.retention_days
    lessons = _purge_store(cfg.store, now, days, cfg.dry) if cfg.store else []
    runs = list(_old_runs(Path(cfg.sink), now, days)) if cfg.sink else []
    if not cfg.dry:
        for folder in runs:
            _delete_run(folder)
    what = "would be deleted" if cfg.dry else "deleted"
    print(f"{len(lessons)} lessons and {len(runs)} runs older than {days} days, or than they may be, {what}.")
    return {"lessons": lessons, "runs": runs}


def _too_old(started: datetime, declared: dict[str, Any], now: datetime, days: float) -> bool:
    promised = declared.get("switches", {}).get("retention_days") or days
    return started < now - timedelta(days=min(days, promised))


def _purge_store(where: str, now: datetime, days: float, dry: bool) -> list[int]:
    optional("sqlalchemy", "live")
    from fer_lab.live.store import open_store

    if "://" not in where and not Path(where).is_file():
        raise FerLabError(f"store={where} does not exist: name the file that live.store=... wrote.")
    store = open_store(where)
    old = [lesson.id for lesson in store.lessons() if _too_old(lesson.started, lesson.privacy, now, days)]
    if not dry:
        store.delete(old)
        store.purge(now - timedelta(days=days))  # the access log, too
        store.end_lost()
    store.close()
    return old


def _old_runs(folder: Path, now: datetime, days: float) -> Iterator[Path]:
    if not folder.is_dir():
        raise FerLabError(f"sink={folder} is no folder: name one that holds runs.")
    for path in sorted(folder.rglob(PRIVACY)):
        try:
            declared = json.loads(path.read_text(encoding="utf-8"))
            started, _ = datetime.fromisoformat(declared["started"]), declared["stored"].keys()
            if _too_old(started, declared, now, days):
                yield path.parent
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FerLabError(f"{path} cannot be read ({error}), so nobody knows how old it is: look at it.") from error


def _delete_run(folder: Path) -> None:
    """The listed files, privacy.json last, and the folder if nothing else is in it."""
    listed = json.loads((folder / PRIVACY).read_text(encoding="utf-8"))["stored"]
    for name in [*(name for name in listed if name != PRIVACY), PRIVACY]:
        path = folder / name
        if Path(name).name == name and (path.is_file() or path.is_symlink()):  # of this folder, no way out of it
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


main = command("purge")(purge)
if __name__ == "__main__":
    main()
