"""What the terminal shows of a group: a line while it runs and a table at the end; nothing of fewer than a group."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

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


def line(faces: int, lsi: float | None, min_group: int) -> str:
    """One moment in words."""
    return f"fewer than {min_group} faces, nothing shown" if lsi is None else f"{faces} faces, LSI {lsi:+.2f}"


def closing_table(stored: Sequence[Second], class_names: Sequence[str], withheld: int, min_group: int) -> Table:
    """Means over the stored seconds."""
    table = Table(title=f"{len(stored)} seconds stored, {withheld} with fewer than {min_group} faces withheld")
    table.add_column("mean over the stored seconds")
    table.add_column("value", justify="right")
    if not stored:
        table.add_row("nothing was seen of a large enough group", "-")
        return table
    table.add_row("faces", f"{np.mean([second.faces for second in stored]):.1f}")
    for name, value in zip(class_names, np.mean([second.probabilities for second in stored], axis=0), strict=True):
        table.add_row(name, f"{value:.3f}")
    table.add_row("LSI (-1 to 1)", f"{np.mean([second.lsi for second in stored]):+.3f}", style="bold")
    return table
