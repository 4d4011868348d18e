"""Every config composes, binds and opens with the command that uses it; a new file is tested without an edit here."""

import json

import pytest
from omegaconf import OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.schema import CONF_DIR, check_targets, compose, config_hash, deciding_part, difference

KEPT = CONF_DIR.parent / "experiments/paper_a/ablation"
FILES = sorted(path.relative_to(CONF_DIR) for path in CONF_DIR.rglob("*.yaml"))
PRIMARY = [path.stem for path in FILES if len(path.parts) == 1 and path.stem != "config"]
OPTIONS = [
    (path.parent.name, path.stem)
    for path in FILES
    if len(path.parts) == 2 and not path.stem.startswith("_") and path.parent.name != "sweep"
]


@pytest.mark.parametrize("command", PRIMARY)
def test_every_command_composes(command: str) -> None:
    compose(command)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{group}={option}" for group, option in OPTIONS])
def test_every_option_composes_and_binds(group: str, option: str) -> None:
    command = {"live": "live", "privacy": "live", "suite": "evaluate"}.get(group, "train")
    cfg = compose(command, [f"{group}={option}"])
    check_targets(cfg)
    assert cfg.choices[group] == option


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_opens_with_a_comment_that_says_what_it_is_for(path) -> None:
    lines = (CONF_DIR / path).read_text().splitlines()
    comments = [line for line in lines[:3] if line.startswith("#") and "@package" not in line]
    assert comments, f"{path} does not say which command uses it"


def test_a_typo_at_the_root_fails_with_its_name() -> None:
    with pytest.raises(FerLabError, match="inputsize"):
        compose("train", ["inputsize=64"])


def test_a_typo_in_a_group_file_fails_at_binding_with_the_known_keys() -> None:
    cfg = compose("train", ["loss=focal", "+loss.gama=1"])
    with pytest.raises(FerLabError, match=r"'loss'.*gama.*takes: gamma"):
        check_targets(cfg)


def test_a_target_that_does_not_exist() -> None:
    with pytest.raises(FerLabError, match=r"cannot import fer_lab.nowhere"):
        check_targets({"loss": {"_target_": "fer_lab.nowhere.Loss"}})


def test_the_hash_sees_what_decides_a_result_and_nothing_else() -> None:
    base = compose("train")
    same = compose(
        "train", ["paths.outputs=/elsewhere", "logger=wandb", "trainer.num_threads=1", "rerun=always", "export=default"]
    )
    assert config_hash(base) == config_hash(same)
    for override in ("seed=1", "loss.label_smoothing=0.1", "trainer.max_epochs=3", "augment=none", "input_size=64"):
        assert config_hash(compose("train", [override])) != config_hash(base), override


def test_keys_that_came_later_leave_kept_runs_what_their_rows_ask_for() -> None:
    run = KEPT / "records/ablation_finetune/seed0"
    kept, record = OmegaConf.load(run / "config.yaml"), json.loads((run / "record.json").read_text())
    said = OmegaConf.load(KEPT / "table.yaml").overrides
    row = ["sweep=ablation", "experiment=ablation_finetune", "data.path=."]
    now = compose("train", [*row, *said])
    assert difference(deciding_part(kept), deciding_part(now)) == []
    assert config_hash(now) == record["config_hash"]
    changed = deciding_part(compose("train", [*row, *said, "augment.rarity=1", "data.dedup=train", "mix=mixup"]))
    assert {"augment.rarity: None -> 1", "data.dedup: None -> train"} <= set(difference(deciding_part(kept), changed))


def test_weights_count_by_name_not_by_folder() -> None:
    here, there = (compose("train", [f"backbone.weights=/{d}/w.safetensors"]) for d in "ab")
    assert config_hash(here) == config_hash(there) != config_hash(compose("train"))


def test_difference_names_keys() -> None:
    old, new = compose("train"), compose("train", ["loss=focal", "seed=2"])
    assert difference(deciding_part(old), deciding_part(new)) == [
        "loss._target_: fer_lab.models.losses.CrossEntropy -> fer_lab.models.losses.Focal",
        "loss.gamma: None -> 2.0",
        "loss.label_smoothing: 0.0 -> None",
        "seed: 0 -> 2",
    ]


def test_swept_keys_name_the_folder() -> None:
    cfg = compose(
        "train", ["experiment=demo_focal", "optimizer.lr=0.1", "loss=focal", "sweep_keys=[optimizer.lr,loss]"]
    )
    assert cfg.paths.run == "outputs/demo_focal/loss=focal,optimizer.lr=0.1/seed0"
    assert compose("train", ["experiment=demo_focal", "seed=3"]).paths.run == "outputs/demo_focal/seed3"
