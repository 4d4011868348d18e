"""Composing from kept choices is composing."""

import pytest
from omegaconf import OmegaConf

from fer_lab.composing import compose_all, split
from fer_lab.errors import FerLabError
from fer_lab.schema import _own_part, compose


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["experiment=ablation_finetune", "sweep=ablation", "data.path=a", "seed=3", "name='x y'", "seed=4"]),
        ("train", ["augment.rarity=1", "augment=targeted", "trainer=smoke", "sweep_keys=[loss,augment.rarity]"]),
        ("train", ["data.sources.folder.path=a", "data=concat", "data.group_by=[subject]", "augment.steps=null"]),
        ("live", ["live.weights.happy=2", "paths.outputs=/o", "target_precision=1", "seed='5'"]),
    ],
)
def test_keys_set_in_a_copy_are_keys_that_hydra_sets(command: str, words: list[str]) -> None:
    assert split(words) is not None
    cfg = compose_all(command, words)
    expected = _own_part(cfg, cfg.hydra)
    for _ in range(2):  # nothing of a composed config is another's
        found = compose(command, words)
        assert found == expected
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)  # order, too
        found.seed, found.trainer.max_epochs, found.data.name = -1, -1, "changed"


@pytest.mark.parametrize(
    "word",
    ["+loss.gamma=1", "~logger", "seed=1,2", "hydra.mode=RUN", "hydra/launcher=basic", "table={name: x}", "mix=null"],
)
def test_anything_else_is_left_to_hydra(word: str) -> None:
    assert split(["seed=1", word]) is None


def test_a_wrong_word_is_refused_as_ever_and_spoils_nothing() -> None:
    for word, sentence in (("seed=abc", "could not be converted"), ("sed=1", "did you mean seed"), ("a.b=1", "a.b")):
        with pytest.raises(FerLabError, match=sentence):
            compose("train", ["loss=focal", word])
    assert compose("train", ["loss=focal"]).seed == 0
