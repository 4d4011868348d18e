"""Preprocessing, backbones, heads, weighting and losses, against hand-worked or published numbers."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch.nn import functional as F

from fer_lab.errors import FerLabError
from fer_lab.models.backbones import build_backbone, read_tensors
from fer_lab.models.heads import LinearHead, MLPHead
from fer_lab.models.keras_layers import keras_layers
from fer_lab.models.losses import CrossEntropy, Focal, SoftLabel
from fer_lab.models.network import build_loss, build_network, describe_network
from fer_lab.models.preprocess import Preprocess
from fer_lab.models.weighting import effective_number, inverse_frequency, no_weights
from fer_lab.models.weights import weights_file
from fer_lab.results.record import Run
from fer_lab.schema import CONF_DIR, compose

HALF = [0.5, 0.5, 0.5]
BACKBONES = sorted(path.stem for path in (CONF_DIR / "backbone").glob("*.yaml"))


def build(name: str, size: int = 64, *overrides: str):
    return build_network(compose("train", [f"backbone={name}", f"input_size={size}", *overrides]), 7)


# Preprocess


def test_scales_and_normalises() -> None:
    faces = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 2, 1)
    images = Preprocess(2, [0.5, 0.0, 0.2], [0.5, 1.0, 0.4])(faces)
    assert images.shape == (3, 3, 2, 2)
    torch.testing.assert_close(images[:, :, 0, 0], torch.tensor([[-1, 0, -0.5], [-0.6, 0.2, 0], [1, 1, 2]]))


def test_both_layouts_and_both_modes_agree() -> None:
    grey = torch.randint(0, 256, (2, 48, 48, 1), dtype=torch.uint8)
    preprocess = Preprocess(96, HALF, HALF)
    expected = preprocess(grey)
    torch.testing.assert_close(preprocess(grey.permute(0, 3, 1, 2)), expected)
    torch.testing.assert_close(preprocess(grey.expand(-1, -1, -1, 3)), expected)
    assert expected.shape == (2, 3, 96, 96)


@pytest.mark.parametrize(
    "faces",
    [
        torch.zeros(1, 48, 48, 1),
        torch.zeros(48, 48, 1, dtype=torch.uint8),
        torch.zeros(1, 48, 48, 2, dtype=torch.uint8),
    ],
)
def test_refuses_what_is_no_face_batch(faces: torch.Tensor) -> None:
    with pytest.raises(FerLabError, match="Faces must"):
        Preprocess(48, HALF, HALF)(faces)


# Backbones and heads


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_logits(name: str) -> None:
    network = build(name, 32, "head=linear").eval()
    assert network(torch.zeros(2, 48, 48, 1, dtype=torch.uint8)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "keras_count"),
    # paper B, table 1, from keras.applications; Keras' B0 has a Normalization layer of 7 numbers that timm has not
    [
        ("mobilenetv2_100", 2_257_984),
        ("efficientnet_b0", 4_049_571 - 7),
        ("mobilenetv3_large", 2_996_352),
        ("mobilenetv3_small", 939_120),
    ],
)
def test_parameter_counts_of_paper_b(name: str, keras_count: int) -> None:
    assert describe_network(build(name), 48, 1)["parameters_keras_no_top"] == keras_count


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mobilenetv2_100", 154),
        ("mobilenetv2_050", 154),
        ("efficientnet_b0", 237),
        ("mobilenetv3_small", 157),
        ("mobilenetv3_large", 187),
    ],
)
def test_layers_as_keras_counts_them(name: str, layers: int) -> None:
    listed = keras_layers(build(name).backbone.body)
    assert len(listed) == layers
    if name.startswith("mobilenetv2"):
        assert listed[-50][0] == "blocks.4.1.conv_pwl"  # Keras' block_11_project


def test_layers_are_not_counted_where_keras_builds_another_network() -> None:
    with pytest.raises(FerLabError, match=r"not defined for ResNet; use schedule.top_fraction or schedule.from_block"):
        keras_layers(build("resnet18").backbone.body)


def test_paper_a_head_has_its_size() -> None:
    """MobileNetV2 alpha 0.5 with the paper's head and 7 classes is 1.04 M numbers; its 13.4 MB imply 3.3 M."""
    head = 1280 * 2 + 1280 * 256 + 256 + 256 * 2 + 256 * 7 + 7
    assert sum(p.numel() for p in MLPHead(1280, 7, 256, 0.4).parameters()) == head
    described = describe_network(build("mobilenetv2_050", 64, "head=mlp256"), 48, 1)
    statistics = 2 * (1280 + 256)
    assert described["parameters_keras_no_top"] + head + statistics == 1_042_103


def test_macs_of_a_known_convolution_net() -> None:
    """MobileNetV2 at 224: 300 M multiply-adds (Sandler et al. 2018, table 4)."""
    network = build("mobilenetv2_100", 224, "head=linear")
    assert describe_network(network, 48, 1)["macs"] == pytest.approx(300e6, rel=0.02)


def test_linear_head_pools() -> None:
    head = LinearHead(3, 2, dropout=0.0)
    features = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(head(features), head[3](features.mean((2, 3))))


# Weights


def test_weights_from_a_file_and_their_record(tmp_path: Path) -> None:
    donor = build_backbone("test_efficientnet", "none", HALF, HALF)
    safetensors.torch.save_model(donor.body, str(tmp_path / "w.safetensors"))
    torch.save(donor.body.state_dict(), tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        loaded = build_backbone("test_efficientnet", str(tmp_path / name), HALF, HALF)
        torch.testing.assert_close(loaded.body.conv_stem.weight, donor.body.conv_stem.weight)
        assert loaded.pretraining["weights"] == name
        assert len(loaded.pretraining["sha256"]) == 64


def test_a_few_missing_tensors_are_reported(tmp_path: Path) -> None:
    state = build_backbone("test_efficientnet", "none", HALF, HALF).body.state_dict()
    del state["conv_head.weight"]
    torch.save({**state, "classifier.weight": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match=r"missing: conv_head.weight; unexpected: classifier.weight"):
        build_backbone("test_efficientnet", str(tmp_path / "w.pth"), HALF, HALF)


def save_tiny(path: Path, metadata: dict[str, str] | None = None) -> Path:
    body = build_backbone("test_efficientnet", "none", HALF, HALF).body
    safetensors.torch.save_file(dict(body.state_dict()), path, metadata)
    return path


def test_pretrained_weights_lie_in_a_folder(tmp_path: Path) -> None:
    save_tiny(tmp_path / "test_efficientnet.faces.safetensors")
    save_tiny(tmp_path / "test_efficientnet_ln.faces.safetensors")  # a longer name is another network
    cfg = compose("train", ["backbone=tiny", "backbone.weights=pretrained", f"paths.weights={tmp_path}"])
    backbone = build_network(cfg, 7).backbone
    assert backbone.pretraining["weights"] == "test_efficientnet.faces.safetensors"
    expected = read_tensors(tmp_path / "test_efficientnet.faces.safetensors")["conv_stem.weight"]
    torch.testing.assert_close(backbone.body.conv_stem.weight.data, expected)


def test_a_weights_file_says_in_its_metadata_for_which_network_it_is(tmp_path: Path) -> None:
    file = save_tiny(tmp_path / "renamed.safetensors", {"timm": "test_efficientnet"})
    save_tiny(tmp_path / "test_efficientnet.safetensors", {"timm": "mobilenetv2_100"})
    (tmp_path / "damaged.safetensors").write_bytes(b"no safetensors")
    assert weights_file("test_efficientnet", "pretrained", str(tmp_path)) == file
    assert weights_file("damaged", "pretrained", str(tmp_path)) == tmp_path / "damaged.safetensors"
    assert weights_file("resnet18", "pretrained", str(tmp_path)) is None


def test_a_run_s_network_gives_its_backbone(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Trained at 48 px, it goes on at another size, whole: no tensor is missing, and the head's are left."""
    trained = build_network(compose("train", ["backbone=tiny", "head=linear", "input_size=48"]), 7)
    safetensors.torch.save_model(trained, str(tmp_path / "model.safetensors"))
    backbone = build_backbone("test_efficientnet", str(tmp_path / "model.safetensors"), HALF, HALF)
    assert backbone.fresh == []
    assert not recwarn.list
    assert backbone.pretraining["weights"] == "model.safetensors"
    for name, tensor in trained.backbone.body.state_dict().items():
        torch.testing.assert_close(backbone.body.state_dict()[name], tensor)


def test_two_files_for_one_network_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    for what in "ab":
        save_tiny(tmp_path / f"test_efficientnet.{what}.safetensors")
    with pytest.raises(FerLabError, match=r"\(test_efficientnet.a.safetensors, test_efficientnet.b.safetensors\)"):
        build_backbone("test_efficientnet", "pretrained", HALF, HALF, weights_dir=str(tmp_path))
    with pytest.raises(FerLabError, match=r"backbone.weights=None is no choice; give none"):
        build_network(compose("train", ["backbone=mobilenetv2_035", "backbone.weights=null"]), 7)
    with pytest.raises(FerLabError, match="is no folder"):
        weights_file("test_efficientnet", "pretrained", str(tmp_path / "nowhere"))
    assert weights_file("test_efficientnet", "none", str(tmp_path / "nowhere")) is None


def test_an_unreachable_hub_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for weights, folder in (("hub", None), ("pretrained", None), ("pretrained", str(tmp_path))):
        with pytest.raises(FerLabError, match=r"set paths.weights to a folder .* or backbone.weights=none"):
            build_backbone("test_efficientnet", weights, HALF, HALF, weights_dir=folder)
    with pytest.raises(FerLabError, match=r"gave no weights for mobilenetv2_035"):  # timm has none
        build_backbone("mobilenetv2_035", "hub", HALF, HALF)


def test_weights_of_the_hub_are_recorded_and_their_normalisation_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's own download is replaced; what follows it is ours."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: create(name, **options))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = build_backbone("test_efficientnet", "pretrained", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    assert backbone.pretraining["weights"] == "hub:r160_in1k"
    assert len(backbone.pretraining["sha256"]) == 64
    with pytest.warns(UserWarning, match=r"expect mean \(0.485, .*config gives \(0.0, 0.0, 0.0\)"):
        build_backbone("test_efficientnet", "hub", [0.0] * 3, [1.0] * 3)


def test_the_bytes_of_the_pretrained_file_decide_the_run(tmp_path: Path) -> None:
    def key(folder: str) -> str:
        chosen = ["backbone=tiny", "backbone.weights=pretrained", f"paths.weights={tmp_path / folder}"]
        return Run(compose("train", chosen), "data").key

    for folder, name in (("a", "x"), ("b", "y"), ("c", "x")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"test_efficientnet.{name}.safetensors").write_bytes(b"cd"[folder == "c" :][:1])
    (tmp_path / "empty").mkdir()
    assert key("a") == key("b")
    assert len({key("a"), key("c"), key("empty")}) == 3


SHARED_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


@pytest.mark.skipif(not SHARED_WEIGHTS.exists(), reason="shared/weights is absent")
@pytest.mark.filterwarnings("ignore:.*tensors loaded")
@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2_035",
        "mobilenetv2_050",
        "mobilenetv2_100",
        "mobilenetv3_small",
        "mobilenetv3_large",
        "efficientnet_lite0",
    ],
)
def test_each_backbone_finds_its_weights(name: str) -> None:
    network = build(name, 64, "backbone.weights=pretrained", f"paths.weights={SHARED_WEIGHTS}")
    assert name in network.backbone.pretraining["weights"]


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_unfit_damaged_and_unsafe_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = build_backbone("mobilenetv2_035", "none", HALF, HALF)
    safetensors.torch.save_model(other.body, str(tmp_path / "other.safetensors"))
    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:1000])
    (tmp_path / "cut.pth").write_bytes((tmp_path / "evil.pth").read_bytes()[:50])
    for file, sentence in [
        ("other.safetensors", r"fits \d+ of the backbone's \d+ tensors"),
        ("evil.pth", "weights-only"),
        ("cut.safetensors", "damaged"),
        ("cut.pth", "damaged"),
        ("none.pth", "does not exist"),
    ]:
        with pytest.raises(FerLabError, match=sentence):
            build_backbone("test_efficientnet", str(tmp_path / file), HALF, HALF)
    assert "executed" not in capsys.readouterr().out


def test_an_unknown_network_is_answered_with_near_names() -> None:
    with pytest.raises(FerLabError, match="near it: mobilenet"):
        build_backbone("mobilenet_v9", "none", HALF, HALF)


# Class weighting


def test_weightings_by_hand() -> None:
    counts = np.array([10, 40])
    assert no_weights(counts) is None
    np.testing.assert_allclose(inverse_frequency(counts), [1.6, 0.4])
    # (1 - .9) / (1 - .9^10) = .15353, (1 - .9) / (1 - .9^40) = .10150; mean 1
    np.testing.assert_allclose(effective_number(counts, beta=0.9), [1.20403, 0.79597], atol=1e-4)
    np.testing.assert_allclose(effective_number(counts, beta=0.0), [1, 1])


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=9))
def test_inverse_frequency_is_scikit_learns_balanced(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), np.minimum(counts, 50))
    capped = np.bincount(labels)
    balanced = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    np.testing.assert_allclose(inverse_frequency(capped), balanced / balanced.mean())


def test_weights_need_every_class() -> None:
    with pytest.raises(FerLabError, match="every class"):
        inverse_frequency(np.array([3, 0]))
    with pytest.raises(FerLabError, match=r"in \[0, 1\)"):
        effective_number(np.array([3, 1]), beta=1.0)


# Losses

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
TARGET = torch.tensor([0, 2])


def test_label_smoothing_is_paper_a_equation_15() -> None:
    epsilon, k = 0.3, 3
    smooth = (1 - epsilon) * F.one_hot(TARGET, k) + epsilon / k
    expected = -(smooth * F.log_softmax(LOGITS, 1)).sum(1).mean()
    torch.testing.assert_close(CrossEntropy(epsilon)(LOGITS, TARGET), expected)


def test_focal_by_hand() -> None:
    # p = e²/(e²+1+e⁻¹) = .84380 and 1/3: mean of (1-p)² · -ln p = (.0244·.16984, .4444·1.09861)
    assert Focal(2.0)(LOGITS, TARGET).item() == pytest.approx((0.004144 + 0.488272) / 2, abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.booleans())
def test_focal_with_gamma_0_is_cross_entropy(seed: int, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, target = torch.randn(6, 4, generator=generator), torch.randint(0, 4, (6,), generator=generator)
    weights = torch.rand(4, generator=generator) + 0.1 if weighted else None
    torch.testing.assert_close(
        Focal(0.0, class_weights=weights)(logits, target), CrossEntropy(0.0, weights)(logits, target)
    )


def test_every_loss_honours_class_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0])
    votes = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.1, 0.8]])
    for make, target in [
        (lambda w: CrossEntropy(0.1, w), TARGET),
        (lambda w: Focal(2.0, class_weights=w), TARGET),
        (lambda w: SoftLabel(w), votes),
    ]:
        assert make(weights)(LOGITS, target) != make(None)(LOGITS, target)


def test_soft_labels_of_certain_votes_are_cross_entropy() -> None:
    votes = F.one_hot(TARGET, 3).float()
    torch.testing.assert_close(SoftLabel()(LOGITS, votes), CrossEntropy(0.0)(LOGITS, TARGET))


def test_loss_refusals() -> None:
    with pytest.raises(FerLabError, match="both give class weights"):
        Focal(2.0, alpha=[1, 1, 1], class_weights=torch.ones(3))
    with pytest.raises(FerLabError, match="must not be negative"):
        Focal(-1.0)
    with pytest.raises(FerLabError, match=r"in \[0, 1\)"):
        CrossEntropy(1.0)


def test_votes_are_refused_where_there_are_none(cache_dir: Path) -> None:
    from fer_lab.data.dataset import build_data

    cfg = compose("train", ["data.samples=300", f"paths.cache={cache_dir}", "loss=soft_label"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = build_data(cfg)
    with pytest.raises(FerLabError, match="needs vote distributions"):
        build_loss(cfg, data)


def test_timm_comes_without_wandb() -> None:
    """Its import costs four seconds; who has imported it before keeps it."""
    code = "import sys; {}from fer_lab.models.backbones import timm; print('wandb' in sys.modules, timm.__name__)"
    for first, has in (("", "False"), ("import types; sys.modules['wandb'] = types.ModuleType('wandb'); ", "True")):
        found = subprocess.run([sys.executable, "-c", code.format(first)], capture_output=True, text=True, check=True)
        assert found.stdout.split() == [has, "timm"]
