"""`python -m fer_lab.dashboard`: the lessons of a store as web pages, for those who may see them."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from fer_lab.dashboard import require_extra
from fer_lab.dashboard.settings import read_settings
from fer_lab.errors import FerLabError
from fer_lab.live.legal import NOTICE
from fer_lab.schema import command


def dashboard(cfg: DictConfig) -> dict:
    """Serve `store`, or simulated lessons (`demo`), until Ctrl-C.

    Raises:
        FerLabError: no store is given, it cannot be opened, the address cannot or may not be listened at, or the live
            extra is not installed.
    """
    require_extra()
    from fer_lab.dashboard import demo
    from fer_lab.dashboard.serve import serve
    from fer_lab.live.store import open_store

    settings = read_settings(cfg.dashboard)
    if not (cfg.store or cfg.demo):
        raise FerLabError("No lessons to show: say store=<file or database URL>, or demo=true for simulated ones.")
    console = Console()
    console.print(NOTICE, style="yellow", highlight=False)
    with ExitStack() as until_the_end:
        where = cfg.store or Path(until_the_end.enter_context(tempfile.TemporaryDirectory())) / "demo.sqlite"
        store = open_store(where)
        until_the_end.callback(store.close)
        if cfg.demo:
            demo.fill(store)
            until_the_end.enter_context(demo.running(store))
            for name, password in demo.people(store).items():
                console.print(f"Simulated lessons: sign in as {name:<10} with {password}", highlight=False)
        serve(store, settings, lambda words: console.print(words, highlight=False))
    return {"address": settings.address}


main = command("dashboard")(dashboard)
if __name__ == "__main__":
    main()
