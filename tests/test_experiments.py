"""Every row of every table: listed, small, and bound; one row of each table really trains."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.schema import CONF_DIR, build, compose, deciding_part, difference
from fer_lab.train import train
from fer_lab.training.rows import check_row
from fer_lab.training.stages import stage_key

ROWS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
SWEEPS = sorted(path.stem for path in (CONF_DIR / "sweep").glob("[!_]*.yaml"))


@cache
def composed(row: str) -> DictConfig:
    """The row, with a stand-in for what it leaves to the command line (data.path)."""
    cfg = compose("train", [f"experiment={row}"])
    for key in OmegaConf.missing_keys(cfg):
        OmegaConf.update(cfg, key, ".")
    return cfg


@cache
def table(sweep: str) -> DictConfig:
    return compose("tables", [f"sweep={sweep}"]).table


def parents(row: str) -> list[str]:
    """The row's parent, its parent, and so on."""
    above = OmegaConf.load(CONF_DIR / "experiment" / f"{row}.yaml").get("parent")
    return [above, *parents(above)] if above else []


def small(row: str) -> list[str]:
    """Overrides that make any row a matter of seconds: synthetic faces, the tiny backbone, two epochs.

    All else is the row's; "the top" of the row's backbone is another part of the tiny one.
    """
    schedule, tiny_top = composed(row).schedule, {"top_layers": 10, "top_fraction": 0.5, "from_block": "blocks.3"}
    changes = [f"schedule.{key}={value}" for key, value in tiny_top.items() if schedule.get(key) is not None]
    if "head_epochs" in schedule:
        changes.append("schedule.head_epochs=0.5")
    return [
        f"experiment={row}", f"head={composed(row).choices.head}", "data=synthetic", "data.samples=300",
        "backbone.weights=none", "trainer.limit_batches=2", *changes,
    ]  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_row_composes_binds_and_is_a_delta(row: str) -> None:
    check_row(composed(row))
    text = (CONF_DIR / "experiment" / f"{row}.yaml").read_text()
    assert len([line for line in text.splitlines() if line.strip() and line[0] != "#"]) <= 12
    assert re.search(rf"experiment={row}\b", text), "the file's command runs another row"
    bases = [
        base for base in OmegaConf.to_container(OmegaConf.create(text)).get("defaults", []) if isinstance(base, str)
    ]
    for base in bases:
        above = OmegaConf.load(CONF_DIR / "experiment" / f"{base}.yaml")
        assert all(not isinstance(entry, str) for entry in above.defaults), f"{base} is itself a delta on a row"


@pytest.mark.parametrize("row", [row for row in ROWS if parents(row)])
def test_a_derived_row_changes_only_what_needs_no_training(row: str) -> None:
    """And its own table has its parents, before it."""
    axes = ("calibration", "smoothing", "parent")
    child, parent = (
        {k: v for k, v in deciding_part(composed(r)).items() if k not in axes} for r in (row, parents(row)[0])
    )
    assert difference(parent, child) == []
    rows = next(t.rows for t in map(table, SWEEPS) if row in t.rows)
    assert all(above in rows[: rows.index(row)] for above in parents(row))


def test_a_papers_table_has_published_numbers_to_stand_beside() -> None:
    for paper in {table(sweep).paper for sweep in SWEEPS} - {None}:
        assert (CONF_DIR.parent / "experiments" / paper / "published.yaml").exists()


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_lists_exactly_the_rows_with_its_prefix(sweep: str) -> None:
    listed = table(sweep)
    assert listed.name == sweep
    assert sorted(listed.rows) == [row for row in ROWS if row.startswith(f"{sweep}_")]
    assert listed.baseline in listed.rows


def test_the_rows_of_paper_a_differ_from_the_one_before_in_one_thing() -> None:
    """Its table 2 is cumulative."""
    steps = ["augment", "weighting", "schedule", "calibration", "smoothing"]
    rows = table("ablation").rows[: len(steps) + 1]
    for axis, row, next_row in zip(steps, rows, rows[1:], strict=False):
        changed = {key for key, value in composed(row).choices.items() if composed(next_row).choices[key] != value}
        assert changed - {"experiment"} == {axis}, next_row


def test_rows_share_the_frozen_stage_of_the_row_before() -> None:
    """Fine-tuning goes on from what the row without it has trained."""

    def first_stage(row: str) -> str:
        cfg = composed(row)
        return stage_key(cfg, "data", build(cfg.schedule, max_epochs=cfg.trainer.max_epochs)[0], "")

    assert first_stage("ablation_class_weights") == first_stage("ablation_finetune")
    assert first_stage("ablation_augmentation") == first_stage("ablation_drop_class_weights")
    assert first_stage("ablation_augmentation") != first_stage("ablation_class_weights")


def test_the_rows_of_the_normalisation_hypothesis_by_hand() -> None:
    """A pixel of 255 under paper B's description, under the right one, and rescaled twice, as (1 - mean) / std."""
    seen = {}
    for row in table("backbones").rows:
        backbone = composed(row).backbone
        seen[row.removeprefix("backbones_")] = round((1 - backbone.mean[0]) / backbone.std[0], 4)
    assert seen["mobilenetv2"] == seen["efficientnet_b0"] == seen["mobilenetv3_large_scratch"] == 1
    assert seen["mobilenetv3_small_normalised"] == 1  # (1 - .5) / .5
    assert seen["efficientnet_b0_normalised"] == 2.2489  # (1 - .485) / .229
    assert seen["mobilenetv3_large_rescaled_twice"] == -0.9922  # 1 / 127.5 - 1
    assert seen["efficientnet_b0_rescaled_twice"] == -2.1008  # (1 / 255 - .485) / .229


AXES = ("augment", "head", "loss", "weighting", "optimizer", "lr_scheduler", "schedule", "calibration")
OPTIONS = [f"{axis}={path.stem}" for axis in AXES for path in sorted((CONF_DIR / axis).glob("*.yaml"))]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_an_axis_trains(option: str, tiny: Callable) -> None:
    top = ["schedule.top_layers=10"] if option == "schedule=two_stage" else []  # Keras' 50 are the tiny network whole
    cfg = tiny(option, "trainer.limit_batches=1", "trainer.max_epochs=2", *top)
    if get_class(cfg.loss._target_).needs_votes:
        with pytest.raises(FerLabError, match="needs vote distributions"):
            train(cfg)
    else:
        assert train(cfg)["status"] == "completed"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("sweep", SWEEPS)
def test_one_row_of_each_table_trains(sweep: str, tiny: Callable) -> None:
    row = next(row for row in reversed(table(sweep).rows) if not parents(row))
    record = train(tiny(*small(row)))
    assert record["status"] == "completed"
    assert record["experiment"] == row


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains(row: str, tiny: Callable) -> None:
    for above in reversed(parents(row)):
        train(tiny(*small(above)))
    record = train(tiny(*small(row)))
    assert record["status"] == "completed"
    assert record.get("parent") == composed(row).parent


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
