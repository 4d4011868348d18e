"""What a command line that does not compose is told, in one sentence."""

import sys
from pathlib import Path

import pytest
import torch

from fer_lab import tables, train
from fer_lab.cli.completion import option_groups
from fer_lab.errors import FerLabError
from fer_lab.refusals import unknown_key
from fer_lab.schema import CONF_DIR, build, check_targets, compose, config_hash
from fer_lab.training.rows import check_row


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.max_epoch=3", "There is no key trainer.max_epoch; did you mean trainer.max_epochs?"),
        ("lossess=focal", "There is no key lossess; did you mean loss?"),
        ("paths.output=x", "There is no key paths.output; did you mean paths.outputs?"),
        ("los.gamma=2", "There is no key los.gamma; did you mean loss.gamma?"),
        ("loss.gamma=2", "There is no key loss.gamma here: it belongs to loss=focal; choose it."),
        ("data.label_map=any", "it belongs to data=folder; choose it."),
        ("qqq=1", "There is no key qqq; --help lists all, and +qqq=... adds one that a component takes."),
        ("loss=fokal", "There is no conf/loss/fokal.yaml; did you mean loss=focal?"),
        ("trainer=x", "There is no conf/trainer/x.yaml; trainer= may be cpu, ddp, gpu, smoke."),
        ("data=_selection", "data=_selection is what files of conf/data share and cannot be chosen; take one of"),
        ("sweep=_rows", "sweep=_rows is what files of conf/sweep share and cannot be chosen; take one of"),
        ("seed=abc", "seed: Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed=1,2", "seed=1,2 are several values; add -m to run each, or put a list in [ ]."),
        ("data.path=/a b(c", "quote what holds blanks, brackets or commas: 'data.path=\"/a b(c\"'."),
        ("augment.strength=5", "augment.strength=5 must lie in (0, 2]; for no augmentation say augment=none."),
    ],
)
def test_a_word_that_does_not_compose(word: str, sentence: str) -> None:
    with pytest.raises(FerLabError) as refused:
        compose("train", [word])
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "full_key" not in str(refused.value)


@pytest.mark.parametrize(("command", "main"), [("train", train.main), ("tables", tables.main)])
def test_the_command_line_says_only_that_sentence(command, main, monkeypatch, capsys) -> None:
    for word, sentence in (
        ("trainer.max_epoch=3", "There is no key trainer.max_epoch; did you mean trainer.max_epochs?"),
        ("data=_selection", "data=_selection is what files of conf/data share"),
        ("augment.strength=5", "augment.strength=5 must lie in"),
    ):
        monkeypatch.setattr(sys, "argv", [command, word])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert (end.value.code, printed.out) == (1, "")
        assert printed.err.startswith(f"fer-lab {command}: {sentence}")
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.max_epochs=0", "trainer.max_epochs=0 must be at least 1"),
        ("trainer.max_epochs=abc", "trainer.max_epochs=abc must be at least 1, and a whole number"),
        ("trainer.limit_epochs=abc", "trainer.limit_epochs=abc is no number of epochs"),
        ("trainer.batch_size=0", "trainer.batch_size=0 must be at least 1"),
        ("trainer.num_workers=-1", "trainer.num_workers=-1 must be at least 0"),
        ("input_size=0", "input_size=0 must be at least 8"),
        ("seed=-1", "seed=-1 must be at least 0"),
        ("optimizer.lr=abc", "optimizer.lr=abc is no number"),
    ],
)
def test_a_value_that_nothing_can_be_trained_with_is_refused_before_data_is_read(word: str, sentence: str) -> None:
    with pytest.raises(FerLabError, match=sentence):
        check_row(compose("train", [word]))


@pytest.mark.parametrize(
    ("word", "sentence"), [("accelerator=gpu", "gpu"), ("devices=0", "devices=0"), ("precision=banana", "banana")]
)
def test_what_lightning_refuses_is_a_sentence(word: str, sentence: str, tmp_path: Path) -> None:
    if word == "accelerator=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    trainer = build(compose("train", [f"trainer.{word}"]).trainer)
    with pytest.raises(
        FerLabError, match=f"Lightning refuses these trainer settings: .*{sentence}.*; correct trainer="
    ):
        trainer(stage_epochs=1, checkpoints=tmp_path, callbacks=[], loggers=[])


def test_keys_of_other_commands_are_not_proposed() -> None:
    assert "did you mean dry?" in unknown_key("drry", "train")
    assert "did you mean" not in unknown_key("drry", "audit")


def test_help_lists_what_can_be_chosen() -> None:
    lines = dict(line.split(": ") for line in option_groups().splitlines())
    assert lines["trainer"] == "cpu, ddp, gpu, smoke"
    assert set(lines) >= {"data", "experiment", "sweep", "hydra/launcher"}
    assert not [choice for choices in lines.values() for choice in choices.split(", ") if choice.startswith("_")]
    assert (CONF_DIR / "data/_selection.yaml").exists()


def test_a_smoke_run_is_short_whatever_its_row_says() -> None:
    row = ["experiment=demo_cross_entropy", "trainer=smoke"]
    cfg = compose("train", row)
    check_targets(cfg)
    assert (cfg.trainer.max_epochs, cfg.trainer.limit_batches) == (2, 3)
    assert config_hash(cfg) == config_hash(compose("train", [*row, "trainer.max_epochs=2"]))  # no key of its own
    assert compose("train", [*row, "trainer.max_epochs=5"]).trainer.max_epochs == 5
    assert compose("train", [*row, "trainer.limit_epochs=null"]).trainer.max_epochs == 16
    two_stages = compose("train", ["experiment=ablation_finetune", "data.path=.", "trainer=smoke"])
    assert (two_stages.trainer.max_epochs, two_stages.schedule.head_epochs) == (2, pytest.approx(20 / 30))
