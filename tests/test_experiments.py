"""Every row of every table: listed, small, and bound; one row of each table really trains."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import get_class

from fer_lab.errors import FerLabError
from fer_lab.schema import CONF_DIR, compose
from fer_lab.train import train
from fer_lab.training.rows import check_row

ROWS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
SWEEPS = sorted(path.stem for path in (CONF_DIR / "sweep").glob("[!_]*.yaml"))
REQUIRED = ["++data.path=."]  # what a row cannot know


@pytest.mark.parametrize("row", ROWS)
def test_row_composes_binds_and_is_a_delta(row: str) -> None:
    check_row(
        compose(
            "train",
            [
                f"experiment={row}",
                *(REQUIRED if "fer2013" in compose("train", [f"experiment={row}"]).choices.data else []),
            ],
        )
    )
    lines = [
        line
        for line in (CONF_DIR / "experiment" / f"{row}.yaml").read_text().splitlines()
        if line.strip() and line[0] != "#"
    ]
    assert len(lines) <= 12


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_lists_exactly_the_rows_with_its_prefix(sweep: str) -> None:
    table = compose("tables", [f"sweep={sweep}"]).table
    assert table.name == sweep
    assert sorted(table.rows) == [row for row in ROWS if row.startswith(f"{sweep}_")]
    assert table.baseline in table.rows


AXES = ("augment", "head", "loss", "weighting", "optimizer", "lr_scheduler", "schedule", "calibration")
OPTIONS = [f"{axis}={path.stem}" for axis in AXES for path in sorted((CONF_DIR / axis).glob("*.yaml"))]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_an_axis_trains(option: str, tiny: Callable) -> None:
    cfg = tiny(option, "trainer.limit_batches=1", "trainer.max_epochs=2")
    if get_class(cfg.loss._target_).needs_votes:
        with pytest.raises(FerLabError, match="needs vote distributions"):
            train(cfg)
    else:
        assert train(cfg)["status"] == "completed"


@pytest.mark.parametrize("sweep", SWEEPS)
def test_one_row_of_each_table_trains(sweep: str, tiny: Callable) -> None:
    row = compose("tables", [f"sweep={sweep}"]).table.rows[-1]
    record = train(
        tiny(
            f"experiment={row}", "data=synthetic", "data.samples=300", "trainer.max_epochs=1", "trainer.limit_batches=2"
        )
    )
    assert record["status"] == "completed"
    assert record["experiment"] == row


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains(row: str, tiny: Callable) -> None:
    record = train(
        tiny(
            f"experiment={row}",
            "data=synthetic",
            "data.samples=300",
            "backbone=tiny",
            "trainer.max_epochs=2",
            "trainer.limit_batches=2",
        )
    )
    assert record["status"] == "completed"


@pytest.mark.slow
def test_the_demo_learns_what_a_linear_model_cannot(tmp_path: Path, cache_dir: Path) -> None:
    """tests/data/test_synthetic.py holds the other half: a linear model on pixels stays under .6."""
    where = [f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}"]
    record = train(compose("train", ["experiment=demo_cross_entropy", *where]))
    assert record["metrics"]["test"]["accuracy"] > 0.8
    names, counts = record["model"]["class_names"], record["metrics"]["test"]["confusion"]
    wrong = {
        frozenset((a, b)): counts[i][j] + counts[j][i]
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    }
    hardest = sorted(wrong, key=wrong.__getitem__)[-2:]
    assert set(hardest) == {frozenset(("fear", "surprise")), frozenset(("neutral", "sad"))}
