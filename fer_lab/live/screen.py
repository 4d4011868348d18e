"""What the terminal shows of a group: a line while it runs and a table at the end; nothing of fewer than a group."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fer_lab.live.lsi import percent
from fer_lab.live.segments import Segment, mean
from fer_lab.live.summary import Second


def progress_line(console: Console, expected: int | None) -> Progress:
    """A progress line with one task; show each frame's `line` with `advance`. expected: number of frames, or None."""
    columns = (
        BarColumn(20),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    progress = Progress(*columns, console=console, transient=True)
    progress.add_task("starting", total=expected)
    return progress


def line(faces: int, lsi: float | None, min_group: int, scale: str) -> str:
    """One moment in words."""
    if lsi is None:
        return f"fewer than {min_group} faces, nothing shown"
    return f"{faces} faces, LSI {_index(lsi, scale)}"


def closing_table(
    stored: Sequence[Second],
    segments: Sequence[tuple[Segment, Second]],
    descriptors: Mapping[str, Any] | None,
    class_names: Sequence[str],
    withheld: int,
    min_group: int,
    scale: str,
) -> Table:
    """Means over the stored seconds: of the whole run, and of each content segment; and the group's descriptors."""
    table = Table(title=f"{len(stored)} seconds stored, {withheld} with fewer than {min_group} faces withheld")
    table.add_column("mean over the stored seconds")
    table.add_column("value", justify="right")
    if not stored:
        table.add_row("nothing was seen of a large enough group", "-")
        return table
    whole = mean(stored)
    table.add_row("faces", f"{whole.faces:.1f}")
    for name, value in zip(class_names, whole.probabilities, strict=True):
        table.add_row(name, f"{value:.3f}")
    limits = "0 to 100" if scale == "percent" else "-1 to 1"
    table.add_row(f"LSI ({limits}; 95 % band of a moment)", _banded(whole, scale), style="bold")
    for segment, part in segments:
        table.add_row(f"LSI of '{segment.title}', {part.second} s", _banded(part, scale))
    if descriptors:
        table.add_section()
        table.add_row("numbers given to faces", f"{descriptors['faces']}")
        table.add_row("an emotion lasts, s", f"{descriptors['dominance_s']:.2f}")
        table.add_row("changes of emotion, a face", f"{descriptors['transitions']:.2f}")
        table.add_row("the same a minute (flips)", f"{descriptors['flips_per_minute']:.1f}")
        table.add_row("change from frame to frame, L1", f"{descriptors['change_l1']:.4f}")
        table.add_row("looks too unsure for a label", f"{descriptors['abstained']:.1%}")
    return table


def _index(lsi: float, scale: str) -> str:
    return f"{percent(lsi):.0f}" if scale == "percent" else f"{lsi:+.2f}"


def _banded(second: Second, scale: str) -> str:
    return f"{_index(second.lsi, scale)} ({_index(second.low, scale)} to {_index(second.high, scale)})"
