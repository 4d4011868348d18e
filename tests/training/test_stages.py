"""A stage is trained once: by the row that comes first, and taken over by rows that agree in all that decides it."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fer_lab.data.dataset import build_data
from fer_lab.train import train
from fer_lab.training import callbacks, fit, stages
from fer_lab.training.schedule import Stage
from fer_lab.training.stages import StageStore, stage_key

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

TWO = ("schedule=two_stage", "schedule.top_layers=null", "schedule.top_fraction=0.4", "schedule.head_epochs=2")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that really train."""
    names: list[str] = []
    original = fit._fit_stage

    def note(cfg, stage, *rest):
        names.append(f"{cfg.name}:{stage.name}")
        return original(cfg, stage, *rest)

    monkeypatch.setattr(fit, "_fit_stage", note)
    return names


def test_rows_share_the_stage_they_have_in_common(
    tiny: Callable, own_cache: Path, tmp_path: Path, trained: list[str]
) -> None:
    short = "trainer.limit_batches=2"
    shared = ("cache.stages=true", f"paths.cache={own_cache}", short)
    train(tiny("name=head", "schedule=head_only", "trainer.max_epochs=2", *shared))
    both = train(tiny("name=both", *TWO, "trainer.max_epochs=4", *shared))
    train(tiny("name=other_loss", *TWO, "trainer.max_epochs=4", "loss=focal", *shared))
    train(tiny("name=other_seed", *TWO, "trainer.max_epochs=4", "seed=1", *shared))
    train(tiny("name=no_calibration", *TWO, "trainer.max_epochs=4", "calibration=none", *shared))
    assert trained == [
        "head:head", "both:top", "other_loss:head", "other_loss:top", "other_seed:head", "other_seed:top",
    ]  # fmt: skip
    assert [stage["trained_by"] for stage in both["stages"]] == ["head/seed0", "both/seed0"]
    history = pd.read_csv(tmp_path / "both" / "seed0" / "history.csv")
    assert history["epoch"].tolist() == [0, 1, 2, 3]
    assert history["stage"].tolist() == ["head", "head", "top", "top"]

    alone = train(tiny("name=alone", *TWO, "trainer.max_epochs=4", short))
    weights = [(tmp_path / name / "seed0" / "model.safetensors").read_bytes() for name in ("both", "alone")]
    assert weights[0] == weights[1]
    assert alone["model"] == both["model"]
    assert alone["metrics"] == both["metrics"]


def test_rerun_trains_again(tiny: Callable, own_cache: Path, trained: list[str]) -> None:
    shared = ("cache.stages=true", f"paths.cache={own_cache}", "trainer.max_epochs=1", "trainer.limit_batches=2")
    train(tiny("name=first", *shared))
    train(tiny("name=first", "rerun=always", *shared))
    assert trained == ["first:full", "first:full"]


def test_a_stage_that_older_code_began_is_kept_from_other_rows(
    tiny: Callable, own_cache: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(path: Path, rows: list[dict]) -> None:
        raise Killed

    shared = ("cache.stages=true", f"paths.cache={own_cache}", "trainer.limit_batches=2")
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "write_history", die)
        patch.setattr(stages, "code_fingerprint", lambda: "older")
        with pytest.raises(Killed):
            train(tiny("name=mixed", *shared))
    train(tiny("name=mixed", *shared))
    train(tiny("name=fresh", *shared))
    train(tiny("name=third", *shared))
    assert trained == ["mixed:full", "mixed:full", "fresh:full"]


def test_the_key_sees_what_comes_before_and_not_what_comes_after(tiny: Callable) -> None:
    stage = Stage("head", 2, "head", views=4)
    data = build_data(tiny()).meta["hash"]
    base = stage_key(tiny(), data, stage, "")
    for same in ("calibration=none", "trainer.max_epochs=9", "schedule=head_only", "name=x", "logger=tensorboard"):
        assert stage_key(tiny(same), data, stage, "") == base, same
    for other in ("seed=1", "loss=focal", "augment=none", "optimizer.lr=0.5", "trainer.batch_size=7", "head=mlp256"):
        assert stage_key(tiny(other), data, stage, "") != base, other
    assert stage_key(tiny(), data, stage, "before") != base
    assert stage_key(tiny(), "other data", stage, "") != base
    assert stage_key(tiny(), data, Stage("head", 2, "head", views=3), "") != base


def test_half_a_stage_is_never_taken(tmp_path: Path) -> None:
    store = StageStore(tmp_path, enabled=True)
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "best.ckpt").write_text("weights")
    assert not store.take("key", tmp_path / "run")
    (tmp_path / "key" / "done.json").write_text(json.dumps({}))
    assert store.take("key", tmp_path / "run")
    assert not StageStore(tmp_path, enabled=False).take("key", tmp_path / "run")
