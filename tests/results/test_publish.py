"""Kept tables: records without places, a table that is rebuilt to the byte, and a changed digit that is found."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.results.collect import collect
from fer_lab.results.compare import read_answers
from fer_lab.results.publish import publish, rebuild
from fer_lab.results.scrub import scrub, without_places
from fer_lab.results.verify import kept_tables, problems
from fer_lab.results.write import write_tables
from fer_lab.schema import compose, config_hash, deciding_part, difference

from .conftest import expect

PUBLISHED = """
title: A paper
authors: Somebody
year: 2026
compare:
  demo_a: {values: {test_accuracy: 0.5}, source: "Table 2, row 1"}
"""


@pytest.fixture
def kept(tmp_path, run_factory, gather):
    """A table of two completed rows, one failed and one that was never run, kept under experiments/paper/demo."""
    for seed in range(2):
        run_factory("demo_a", seed, recall=0.6, predictions=True, exported=True)
        run_factory("demo_b", seed, recall=0.8, predictions=True)
    run_factory("demo_c", 0, status="failed", error="x", metrics={})
    cfg = compose(
        "train", ["data=fer2013", "data.path=/home/somebody/faces", "backbone.weights=/home/somebody/w.safetensors"]
    )
    OmegaConf.save(cfg, tmp_path / "demo_a" / "seed0" / "config.yaml")
    folder = tmp_path / "experiments" / "paper" / "demo"
    folder.mkdir(parents=True)
    (folder.parent / "published.yaml").write_text(PUBLISHED)
    results = gather(["demo_a", "demo_b", "demo_c", "demo_d"], [0, 1])
    return publish(results, folder, "paper", [0, 1], ["data.path=/home/somebody/faces", "trainer.max_epochs=2"])


def test_a_kept_table_needs_nothing_but_its_folder(kept, tmp_path):
    clone = tmp_path / "clone" / "experiments"
    shutil.copytree(kept.parent.parent, clone)
    for name in ("demo_a", "demo_b", "demo_c"):
        shutil.rmtree(tmp_path / name)
    assert kept_tables(clone) == [clone / "paper" / "demo"]
    assert problems(clone / "paper" / "demo") == []
    results = rebuild(clone / "paper" / "demo")
    assert [row.status for row in results.rows] == ["completed", "completed", "failed", "not run"]
    assert results.comparisons["demo_b"].differences["macro_f1"].interval is not None
    assert results.rows[0].choices["loss"] == "a"
    assert results.published["demo_a"].values == {"test_accuracy": 0.5}


def test_the_kept_table_says_what_the_table_said(kept, gather, tmp_path):
    results = gather(["demo_a", "demo_b", "demo_d"], [0, 1])
    live = collect("demo", "Two losses", None, ["demo_a", "demo_b"], [0, 1], tmp_path, expect)
    assert live.comparisons == {name: rebuild(kept).comparisons[name] for name in ("demo_a", "demo_b")}
    again = publish(replace(results, rows=results.rows[:2]), kept.parent / "again", "paper", [0, 1], [])
    first = [path.read_bytes() for path in write_tables(rebuild(again), tmp_path / "one")]
    assert [path.read_bytes() for path in write_tables(rebuild(again), tmp_path / "two")] == first


def test_what_is_kept(kept):
    files = sorted(str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file())
    run = ["benchmark.json", "config.yaml", "export/export.json", "history.csv", "record.json"]
    run += ["test_predictions.parquet", "validation_predictions.parquet"]
    assert [name for name in files if "demo_a/seed0" in name] == [f"records/demo_a/seed0/{name}" for name in run]
    assert [name for name in files if "/" not in name] == [
        "results.csv", "table.md", "table.tex", "table.yaml", "timings.csv",
    ]  # fmt: skip
    # of a failed run its sentence
    assert [name for name in files if "demo_c" in name] == ["records/demo_c/seed0/record.json"]


def test_a_stale_run_is_not_kept(run_factory, gather, tmp_path):
    run_factory("demo_a", 0)
    run_factory("demo_b", 0, config_hash="another")
    with pytest.raises(FerLabError, match=r"demo_b/seed0 is stale .*; train it again with rerun=always"):
        publish(gather(["demo_a", "demo_b"], [0]), tmp_path / "demo", None, [0], [])
    assert not (tmp_path / "demo").exists()


def test_no_place_on_a_machine_is_kept(kept, tmp_path):
    for path in kept.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for place in (b"somebody", b"/home", str(tmp_path).encode()):
                assert place not in content, path
    assert yaml.safe_load((kept / "table.yaml").read_text())["overrides"] == ["trainer.max_epochs=2"]


def test_a_kept_config_still_has_its_hash(kept):
    saved = OmegaConf.load(kept / "records" / "demo_a" / "seed0" / "config.yaml")
    cfg = compose("train", ["data=fer2013", "data.path=/elsewhere", "backbone.weights=/elsewhere/w.safetensors"])
    assert config_hash(saved) == config_hash(cfg)
    assert difference(deciding_part(saved), deciding_part(cfg)) == []


def test_predictions_are_kept_smaller_with_the_same_answers_and_groups(kept, tmp_path):
    name = "demo_a/seed0/test_predictions.parquet"
    before, after = tmp_path / name, kept / "records" / name
    assert after.stat().st_size < before.stat().st_size / 2
    old, new = read_answers(before), read_answers(after)
    for field in ("ids", "labels", "predicted"):
        assert np.array_equal(getattr(old, field), getattr(new, field))
    assert (old.counts.sum(0) == new.counts.sum(0)).all()
    assert len(np.unique(old.groups)) == len(np.unique(new.groups))
    half, full = (pd.read_parquet(path).filter(like="logit_").to_numpy(float) for path in (after, before))
    assert np.abs(half - full).max() < 0.004


def test_a_face_that_half_precision_would_confuse_stays_as_it_is(kept, tmp_path, run_factory, gather):
    run_factory("demo_z", 0, predictions=True)
    path = tmp_path / "demo_z" / "seed0" / "test_predictions.parquet"
    table = pd.read_parquet(path)
    table.loc[0, ["logit_angry", "logit_fear"]] = [10.0, 10.0001]
    table.to_parquet(path)
    folder = publish(gather(["demo_z"], [0]), kept.parent / "z", None, [0], [])
    again = pd.read_parquet(folder / "records" / "demo_z" / "seed0" / "test_predictions.parquet")
    before, after = (t.filter(like="logit_").to_numpy() for t in (table, again))
    assert np.array_equal(after[0], before[0])
    assert not np.array_equal(after[1:], before[1:])
    assert np.array_equal(after.argmax(1), before.argmax(1))


def test_a_changed_digit_is_found_and_named(kept):
    path = kept / "results.csv"
    lines = path.read_text().split("\n")
    at = lines[2].index("0.")
    digit = lines[2][at + 2]
    lines[2] = f"{lines[2][: at + 2]}{(int(digit) + 1) % 10}{lines[2][at + 3 :]}"
    path.write_text("\n".join(lines))
    (found,) = problems(kept)
    assert f"{path}, line 3: '" in found
    assert "the records give" in found


def test_a_changed_record_is_found_in_tables_and_by_its_predictions(kept):
    path = kept / "records" / "demo_b" / "seed1" / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["test"]["macro_f1"] += 0.01
    path.write_text(json.dumps(record))
    found = problems(kept)
    assert any("test macro_f1 is recorded as" in problem and "its predictions give" in problem for problem in found)
    assert {name for name in ("results.csv", "table.md", "table.tex") for problem in found if name in problem} == {
        "results.csv", "table.md", "table.tex",
    }  # fmt: skip


def test_a_missing_file_is_found(kept):
    (kept / "table.tex").unlink()
    assert problems(kept) == [f"{kept / 'table.tex'} is missing"]


def test_code_that_changes_later_does_not_change_a_kept_table(kept):
    assert "lder code" not in (kept / "table.md").read_text()
    assert rebuild(kept).code is None


def test_refusals(kept, gather, tmp_path):
    with pytest.raises(FerLabError, match="nothing to publish"):
        publish(gather(["demo_d"], [0]), tmp_path / "new", None, [0], [])
    (tmp_path / "other" / "records").mkdir(parents=True)
    with pytest.raises(FerLabError, match=r"no table\.yaml beside it"):
        publish(gather(["demo_a"], [0]), tmp_path / "other", None, [0], [])
    with pytest.raises(FerLabError, match=r"table\.yaml does not exist"):
        rebuild(tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/me/w.safetensors", "w.safetensors"),
        ("../shared/data/fer2013", "fer2013"),
        ("~/fer2013.csv", "fer2013.csv"),
        ("C:\\Users\\me\\faces", "faces"),
        ("read /data/a b.csv and ../x/y", "read a b.csv and y"),
        ("AMD EPYC", "AMD EPYC"),
        ("demo_a/seed0", "demo_a/seed0"),
        ("train/loss", "train/loss"),
        ("https://doi.org/10.1/x", "https://doi.org/10.1/x"),
        ("2026-11-22T03:54:34+00:00", "2026-11-22T03:54:34+00:00"),
        ("hub:timm/mobilenetv2_050.lamb_in1k", "hub:timm/mobilenetv2_050.lamb_in1k"),
    ],
)
def test_paths_are_cut_to_their_last_part(text, kept):
    assert scrub({"a": [text, 1, None]}) == {"a": [kept, 1, None]}


def test_overrides_that_say_where_are_left_out():
    said = [
        "data.path=/x",
        "paths.weights=w",
        "+data.fraction=0.1",
        "data.fraction=0.2",
        "logger=wandb",
        "cache.max_gb=1",
    ]
    said += ["backbone.weights=/x/w.safetensors", "backbone.weights=pretrained", "trainer.max_epochs=2"]
    said += ["publish=x/y", "cache.max_gb=1"]
    assert without_places(said) == [
        "+data.fraction=0.1", "data.fraction=0.2", "backbone.weights=pretrained", "trainer.max_epochs=2",
    ]  # fmt: skip
