"""Audit what others hand us: a source of faces (`data=`), or the printed tables of a paper (`paper=`)."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from fer_lab.data.audit import findings_in_words, inspect_faces, markdown
from fer_lab.data.source import SPLITS
from fer_lab.results.paper_audit import audit_paper
from fer_lab.results.record import write_json
from fer_lab.schema import build, command
from fer_lab.training.rows import check_row


def audit(cfg: DictConfig) -> dict[str, Any]:
    """Report what is wrong with the paper `cfg.paper`, or, where none is named, with the faces of `cfg.data`.

    Returns:
        See :func:`fer_lab.results.paper_audit.audit_paper` and :func:`fer_lab.data.audit.inspect_faces`; also in
        `<outputs>/audits/<paper or source>/audit.json` and `audit.md`.
    """
    if cfg.paper:
        return audit_paper(cfg)
    check_row(cfg)
    found = inspect_faces(build(cfg.data))
    folder = Path(cfg.paths.outputs) / "audits" / found["source"]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "audit.json", found)
    (folder / "audit.md").write_text(markdown(found))
    _show_faces(found, folder)
    return found


def _show_faces(found: dict[str, Any], folder: Path) -> None:
    console = Console()
    table = Table(title=f"Audit of {found['source']} → {folder}")
    table.add_column("split")
    for name in found["counts"]["train"]:
        table.add_column(name, justify="right")
    for split in SPLITS:
        table.add_row(split, *map(str, found["counts"][split].values()))
    console.print(table)
    for what, value in findings_in_words(found):
        console.print(f"{what}: [bold]{value}[/bold]")


main = command("audit")(audit)

if __name__ == "__main__":
    main()
