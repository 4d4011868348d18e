"""Audit what others hand us: a source of faces (`data=`), or the printed tables of a paper (`paper=`)."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fer_lab.data.audit import as_used, findings, read_facts, repeated
from fer_lab.data.preview import preview
from fer_lab.data.source import Skipped, Source
from fer_lab.errors import FerLabError
from fer_lab.results.faces_audit import in_words, markdown, page
from fer_lab.results.faces_gallery import galleries
from fer_lab.results.paper_audit import audit_paper
from fer_lab.results.record import write_json
from fer_lab.results.scrub import scrub, without_places
from fer_lab.schema import build, command
from fer_lab.training.out_of_fold import label_noise
from fer_lab.training.rows import check_row


def audit(cfg: DictConfig) -> dict[str, Any]:
    """Report what is wrong with the paper `cfg.paper`, or, where none is named, with the faces of `cfg.data`.

    Returns:
        See :func:`fer_lab.results.paper_audit.audit_paper` and :func:`fer_lab.data.audit.findings`, with `label_noise`
        (:func:`fer_lab.training.out_of_fold.label_noise`) where that is asked for; also in
        `<outputs>/audits/<paper or source>/` as audit.json, audit.md and, for faces, audit.html, duplicates.csv,
        unreadable.txt (a sentence each), label_noise.csv and label_noise_exclude.txt. With `publish=<source>_audit`
        audit.json and audit.md in `<paths.experiments>/<source>_audit/` too. With `preview` only `preview`, the path of
        a grid of augmented views.

    Raises:
        FerLabError: a config that cannot run, nothing readable, or `publish` names another folder.
    """
    outputs = Path(cfg.paths.outputs) / "audits"
    if cfg.paper:
        found = audit_paper(cfg)
        _name_files(outputs / cfg.paper, cfg)
        return found
    check_row(cfg)
    if cfg.preview:
        path = preview(cfg)
        Console().print(f"Augmented views → {path}")
        return {"preview": str(path)}
    source: Source = build(cfg.data)
    if cfg.publish not in (None, f"{source.name}_audit"):
        raise FerLabError(f"publish={cfg.publish}: the audit of {source.name} belongs in {source.name}_audit.")
    facts, unreadable = read_facts(source)
    facts, split = as_used(source, facts)
    found = scrub(findings(source, facts, unreadable, split))
    folder = outputs / source.name
    folder.mkdir(parents=True, exist_ok=True)
    copies = repeated(facts, "near").sort_values(["near", "exact"], kind="stable")
    copies[["sample_id", "split", "emotion", "near", "exact"]].to_csv(folder / "duplicates.csv", index=False)
    _name_unreadable(folder / "unreadable.txt", unreadable)
    ranking = None
    if cfg.label_noise:
        found["label_noise"], ranking = label_noise(cfg, source, facts, folder)
    made_by = " ".join(["python -m fer_lab.audit", *_own_words(cfg)])
    shown = galleries(source, facts, ranking) if cfg.thumbnails else []
    (folder / "audit.html").write_text(page(found, made_by, shown), encoding="utf-8", newline="\n")
    for place in (folder, *([Path(cfg.paths.experiments) / cfg.publish] if cfg.publish else [])):
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "audit.json", found)
        (place / "audit.md").write_text(markdown(found, made_by), encoding="utf-8", newline="\n")
    _show(found, folder)
    _name_files(folder, cfg)
    return found


def _own_words(cfg: DictConfig) -> list[str]:
    """The command line without what only this machine has; switches that decide what is found are kept."""
    kept = without_places(cfg.overrides)
    return [word for word in cfg.overrides if word in kept or word.split("=")[0] in ("label_noise", "publish")]


def _name_unreadable(path: Path, unreadable: Skipped) -> None:
    """Write a sentence a line; no file, not even an earlier one, where everything was readable."""
    path.unlink(missing_ok=True)
    if sentences := unreadable.first.get("unreadable"):
        lines = [sentence.replace("\n", " ") + "\n" for sentence in sentences]
        path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace", newline="\n")


def _show(found: dict[str, Any], folder: Path) -> None:
    console = Console()
    table = Table(title=f"Audit of {found['source']} → {folder}")
    table.add_column("split")
    for name in next(iter(found["counts"].values())):
        table.add_column(name, justify="right")
    for split, part in found["counts"].items():
        table.add_row(split, *(f"{faces:,}" for faces in part.values()))
    console.print(table)
    for what, value in in_words(found):
        console.print(f"{what}: [bold]{escape(value)}[/bold]")


def _name_files(folder: Path, cfg: DictConfig) -> None:
    """Say where what was found can be read."""
    folders = [folder, *([Path(cfg.paths.experiments) / cfg.publish] if cfg.publish else [])]
    names = ("audit.html", "audit.md", "audit.json", "unreadable.txt", "label_noise_exclude.txt")
    written = [place / name for place in folders for name in names if (place / name).is_file()]
    Console().print("\n".join(["Written:", *map(str, written)]), markup=False, highlight=False, soft_wrap=True)


main = command("audit")(audit)

if __name__ == "__main__":
    main()
