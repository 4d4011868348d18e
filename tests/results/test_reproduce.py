"""Rows trained again: the command, and inside, outside or not comparable."""

import json
import sys

import pytest
from omegaconf import OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.results import reproduce
from fer_lab.results.publish import publish
from fer_lab.schema import compose

from .conftest import make_run


@pytest.fixture
def kept(tmp_path, run_factory, gather):
    for seed in range(2):
        parent = run_factory("demo_a", seed, recall=0.6, predictions=True)
        run_factory("demo_b", seed, recall=0.8, predictions=True, parent="demo_a", parent_key=parent["key"])
    folder = tmp_path / "experiments" / "paper" / "demo"
    folder.mkdir(parents=True)
    return publish(gather(["demo_a", "demo_b", "demo_c"], [0, 1]), folder, None, [0, 1], ["+data.fraction=0.1"])


def test_the_command_repeats_what_was_said_and_brings_the_parent(kept, tmp_path):
    words = reproduce.command(kept, ["demo_b"], ["data.path=here"], tmp_path / "again")
    assert words[:3] == [sys.executable, "-m", "fer_lab.train"]
    assert words[3:] == [
        "sweep=demo", "table.rows=[demo_a,demo_b]", "table.seeds=[0,1]", f"paths.outputs={tmp_path / 'again'}",
        "rerun=stale", "+data.fraction=0.1", "data.path=here",
    ]  # fmt: skip


def test_the_same_numbers_lie_inside(kept, tmp_path):
    judged = reproduce.judge(kept, "demo_a", tmp_path)  # the very runs the table was made of
    assert judged.holds
    assert "over 2 of 2 seeds: inside the kept 0." in judged.sentence


def test_other_numbers_lie_outside(kept, tmp_path):
    for seed in range(2):
        make_run(tmp_path / "again", "demo_a", seed, recall=0.99)
    judged = reproduce.judge(kept, "demo_a", tmp_path / "again")
    assert not judged.holds
    assert "OUTSIDE" in judged.sentence


def test_a_row_that_did_not_train_or_was_trained_otherwise_does_not_hold(kept, tmp_path):
    assert "not retrained" in reproduce.judge(kept, "demo_a", tmp_path / "again").sentence
    make_run(tmp_path / "again", "demo_a", 0, recall=0.6, config_hash="another", data_hash="others")
    for folder, override in ((kept / "records", "loss.gamma=2.0"), (tmp_path / "again", "loss.gamma=3.0")):
        OmegaConf.save(compose("train", ["loss=focal", override]), folder / "demo_a" / "seed0" / "config.yaml")
    judged = reproduce.judge(kept, "demo_a", tmp_path / "again")
    assert not judged.holds
    assert "not comparable: seed 0 was trained with loss.gamma: 2.0 -> 3.0, data: 5e1d" in judged.sentence


def test_a_table_without_an_interval_judges_nothing(kept, tmp_path):
    text = (kept / "results.csv").read_text().replace("test_macro_f1_low", "gone")
    (kept / "results.csv").write_text(text)
    assert "no interval to judge it by" in reproduce.judge(kept, "demo_a", tmp_path).sentence


def test_main_trains_and_its_exit_code_says_whether_all_rows_hold(kept, tmp_path, monkeypatch, capsys):
    experiments, outputs = kept.parent.parent, tmp_path / "again"
    recalls = {"demo_a": 0.6, "demo_b": 0.8}

    def train(words, check):
        for row, recall in recalls.items():
            for seed in range(2):
                make_run(outputs, row, seed, recall=recall)

        class Done:
            returncode = 0

        return Done

    monkeypatch.setattr(reproduce.subprocess, "run", train)
    assert reproduce.main(["demo", "demo_a,demo_b", f"paths.outputs={outputs}"], experiments) == 0
    assert capsys.readouterr().out.count("inside") == 2
    record = outputs / "demo_b" / "seed0" / "record.json"
    content = json.loads(record.read_text())
    content["metrics"]["test"]["macro_f1"] = 0.0
    record.write_text(json.dumps(content))
    monkeypatch.setattr(reproduce.subprocess, "run", lambda words, check: type("Done", (), {"returncode": 0}))
    assert reproduce.main(["demo", "", f"paths.outputs={outputs}"], experiments) == 1
    assert "OUTSIDE" in capsys.readouterr().out


def test_what_an_earlier_training_left_reproduces_nothing(kept, tmp_path, monkeypatch, capsys):
    """As where this one was refused, or a seed of it failed."""
    experiments, outputs = kept.parent.parent, tmp_path / "again"
    for seed in range(2):
        make_run(outputs, "demo_a", seed, recall=0.6)
    words = ["demo", "demo_a", f"paths.outputs={outputs}"]
    monkeypatch.setattr(reproduce.subprocess, "run", lambda words, check: type("Done", (), {"returncode": 1}))
    assert reproduce.main(words, experiments) == 1
    assert "exit code 1, so nothing is reproduced" in capsys.readouterr().out
    (outputs / "demo_a" / "seed1" / "record.json").unlink()
    monkeypatch.setattr(reproduce.subprocess, "run", lambda words, check: type("Done", (), {"returncode": 0}))
    assert reproduce.main(words, experiments) == 1
    assert "demo_a: not retrained: seed 1; see" in capsys.readouterr().out
    assert reproduce.main([*words, "table.seeds=[0]"], experiments) == 0


def test_other_weights_are_not_comparable(kept, tmp_path):
    for seed in range(2):
        make_run(tmp_path / "again", "demo_a", seed, recall=0.6, pretraining={"weights": "w", "sha256": "ab" * 32})
    sentence = reproduce.judge(kept, "demo_a", tmp_path / "again").sentence
    assert "not comparable: seed 0 was trained with pretraining: " in sentence
    assert " -> w abababababababab" in sentence


def test_unknown_tables_and_rows_are_one_sentence(kept, tmp_path):
    with pytest.raises(FerLabError, match=r"'size' does not exist under .*; kept tables: demo"):
        reproduce.find_table("size", kept.parent.parent)
    assert reproduce.find_table("demo", kept.parent.parent) == kept
    assert reproduce.find_table("demo", kept.parent) == kept, "a table of no paper"
    with pytest.raises(FerLabError, match="no row 'demo_x'; its rows: demo_a, demo_b, demo_c"):
        reproduce.command(kept, ["demo_x"], [], tmp_path)
    with pytest.raises(FerLabError, match="no record of 'demo_c'"):
        reproduce.command(kept, ["demo_c"], [], tmp_path)
