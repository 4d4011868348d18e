import pytest
import torch

from fer_lab.errors import FerLabError
from fer_lab.models.network import build_network
from fer_lab.schema import compose
from fer_lab.training.schedule import Stage, freeze, full, head_only, two_stage


@pytest.fixture(scope="module")
def network():
    return build_network(compose("train", ["backbone=mobilenetv2_035", "input_size=32"]), 7)


def trained(network) -> set[str]:
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_stages_share_out_the_epochs() -> None:
    assert [(s.name, s.epochs) for s in full(5)] == [("full", 5)]
    assert [(s.name, s.trains) for s in head_only(5, 4)] == [("head", "head")]
    assert [(s.name, s.epochs, s.lr_factor) for s in two_stage(30, 20, 0.1, 4, top_layers=50)] == [
        ("head", 20, 1.0),
        ("top", 10, 0.1),
    ]
    assert [s.epochs for s in two_stage(10, 0.3, 0.1, 0, from_block="blocks.5")] == [3, 7]


def test_impossible_schedules() -> None:
    with pytest.raises(FerLabError, match="exactly one"):
        two_stage(10, 0.3, 0.1, 0)
    with pytest.raises(FerLabError, match="exactly one"):
        two_stage(10, 0.3, 0.1, 0, top_layers=50, top_fraction=0.5)
    with pytest.raises(FerLabError, match=r"leaves none of trainer.max_epochs=10"):
        two_stage(10, 12, 0.1, 0, top_layers=50)
    with pytest.warns(UserWarning, match="too short for two stages"):
        assert [s.name for s in two_stage(1, 0.3, 0.1, 0, top_layers=50)] == ["head"]


def test_head_only_freezes_the_backbone(network) -> None:
    freeze(network, head_only(1, 0)[0])
    assert {name.split(".")[0] for name in trained(network)} == {"head"}


def test_the_top_50_keras_layers_start_inside_block_11(network) -> None:
    freeze(network, Stage("top", 1, "top", top_layers=50))
    body = {name.removeprefix("backbone.body.") for name in trained(network) if name.startswith("backbone")}
    assert "blocks.4.1.conv_pwl.weight" in body  # block_11_project
    assert "blocks.4.1.bn2.weight" not in body  # block_11_depthwise_BN
    assert "conv_head.weight" in body
    assert {name for name in trained(network) if name.startswith("head")}


def test_from_block_and_fraction(network) -> None:
    freeze(network, Stage("top", 1, "top", from_block="blocks.5.0"))
    body = sorted(name.removeprefix("backbone.body.") for name in trained(network) if name.startswith("backbone"))
    assert body[0].startswith("blocks.5.0")
    assert not any(name.startswith("blocks.4") for name in body)
    freeze(network, Stage("top", 1, "top", top_fraction=1.0))
    assert len(trained(network)) == len(list(network.parameters()))
    with pytest.raises(FerLabError, match=r"it has blocks.0.0"):
        freeze(network, Stage("top", 1, "top", from_block="layer4"))
    with pytest.raises(FerLabError, match=r"in \(0, 1\]"):
        freeze(network, Stage("top", 1, "top", top_fraction=0.0))


def test_a_later_stage_unfreezes_what_an_earlier_one_froze(network) -> None:
    freeze(network, head_only(1, 0)[0])
    assert freeze(network, full(1)[0]) == []
    assert all(p.requires_grad for p in network.parameters())


def test_frozen_batchnorm_keeps_its_statistics(network) -> None:
    from functools import partial

    from fer_lab.models.losses import CrossEntropy
    from fer_lab.training.lr import constant
    from fer_lab.training.module import FERModule

    frozen = freeze(network, head_only(1, 0)[0])
    module = FERModule(network, CrossEntropy(0.0), partial(torch.optim.Adam, lr=0.1), constant, frozen)
    before = network.backbone.body.bn1.running_mean.clone()
    head_before = network.head.layers[2].running_mean.clone()
    module({"faces": torch.randint(0, 256, (4, 48, 48, 1), dtype=torch.uint8)})
    torch.testing.assert_close(network.backbone.body.bn1.running_mean, before)
    assert (network.head.layers[2].running_mean != head_before).any()


def test_what_pretrained_weights_left_out_learns_with_the_head(network) -> None:
    network.backbone.fresh = ["conv_head", "bn2"]
    try:
        frozen = freeze(network, head_only(1, 0)[0])
        assert {name.split(".")[0] for name in trained(network)} == {"backbone", "head"}
        assert {name.split(".")[2] for name in trained(network) if name.startswith("backbone")} == {"conv_head", "bn2"}
        assert network.backbone.body.bn2 not in frozen
    finally:
        network.backbone.fresh = []
