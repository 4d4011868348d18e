"""Backbones: any timm network up to its last feature map, with weights from nowhere, a hub or a safe file."""

import hashlib
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fer_lab.errors import FerLabError
from fer_lab.models.lean_timm import EfficientNet, MobileNetV3, ResNet, timm
from fer_lab.models.weights import weights_file

_LEAST_MATCH = 0.9
_OWN_PREFIX = "backbone.body."  # of a backbone's tensors in a run's model.safetensors


class Backbone(nn.Module):
    """A timm network without pooling and classifier.

    MobileNetV3's 1×1 convolution behind the pooling is left out, as in Keras without top.

    Attributes:
        body: the timm network; features: channels of its last feature map.
        mean, std: normalisation its weights expect, for values in 0-1.
        pretraining: "none", or what the weights are: {"weights", "sha256"}.
        fresh: names of the body's modules that pretrained weights left out; they are never frozen.
    """

    def __init__(self, body: nn.Module, timm_name: str, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.body, self.timm_name = body, timm_name
        self.features: int = body.num_features
        self.mean, self.std = tuple(mean), tuple(std)
        self.pretraining: str | dict[str, str] = "none"
        self.fresh: list[str] = []

    def forward(self, images: Tensor) -> Tensor:
        """float32 N×3×S×S to a feature map, float32 N×features×h×w."""
        return self.body.forward_features(images)

    def steps(self) -> list[nn.Module]:
        """The backbone as a chain of layers and blocks; one step for architectures whose chain is not known here."""
        body = self.body
        if isinstance(body, EfficientNet | MobileNetV3):
            behind = [body.conv_head, body.bn2] if isinstance(body, EfficientNet) else []
            return [body.conv_stem, body.bn1, *(block for stage in body.blocks for block in stage), *behind]
        if isinstance(body, ResNet):
            stages = (body.layer1, body.layer2, body.layer3, body.layer4)
            return [body.conv1, body.bn1, body.act1, body.maxpool, *(block for stage in stages for block in stage)]
        return [self]


def build_backbone(
    timm_name: str,
    weights: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    pad_type: str | None = None,
    weights_dir: str | None = None,
) -> Backbone:
    """Build a timm network and load its weights.

    Args:
        timm_name: any name timm knows; weights: `none`, `hub` (timm downloads them), `pretrained` (the network's file
            in weights_dir, else the hub), or the path of a .safetensors or weights-only .pth file with timm's keys, or
            of a run's model.safetensors.
        mean, std: three numbers each; None for what the hub's weights expect, or 0.5 as Keras' MobileNets have it.
        pad_type: `same` pads as Keras does.
        weights_dir: see :func:`fer_lab.models.weights.weights_file`.

    Raises:
        FerLabError: unknown name, unreadable or unsafe file, one that matches under 90 % of the backbone's tensors,
            more than one file to choose from, or the hub cannot be reached.
    """
    if timm_name not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{timm_name.split('_')[0]}*")[:6])
        raise FerLabError(f"timm knows no network '{timm_name}'; near it: {near or 'see timm.list_models()'}.")
    options = {"pad_type": pad_type} if pad_type else {}
    path = weights_file(timm_name, weights, weights_dir)
    from_hub = path is None and weights != "none"
    try:
        body = timm.create_model(timm_name, pretrained=from_hub, num_classes=0, **options)
    except (OSError, RuntimeError) as error:
        if not from_hub:
            raise
        reason = str(error).split("\n")[0].split(". ")[0]  # without torch's advice to trust the file
        raise FerLabError(
            f"backbone.weights={weights}: timm's hub gave no weights for {timm_name} ({reason}); set paths.weights to "
            f"a folder that holds {timm_name}.<what>.safetensors, or backbone.weights=none."
        ) from error
    for behind_pooling in ("conv_head", "norm_head", "act2"):
        if isinstance(body, timm.models.MobileNetV3):
            setattr(body, behind_pooling, nn.Identity())
    source = body.pretrained_cfg if from_hub else {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    backbone = Backbone(body, timm_name, mean or source["mean"], std or source["std"])
    if from_hub:
        backbone.pretraining = {"weights": f"hub:{source.get('tag') or timm_name}", "sha256": _tensors_hash(body)}
        if (backbone.mean, backbone.std) != (tuple(source["mean"]), tuple(source["std"])):
            warnings.warn(
                f"{timm_name}: the hub's weights expect mean {source['mean']} and std {source['std']}; "
                f"the config gives {backbone.mean} and {backbone.std}",
                stacklevel=2,
            )
    elif path is not None:
        backbone.fresh = load_weights(body, path)
        backbone.pretraining = {"weights": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return backbone


def load_weights(body: nn.Module, path: Path) -> list[str]:
    """Load a file of tensors; missing and unexpected keys are reported as a warning.

    Returns:
        Names of the modules that the file has no tensor for; they keep their random start.

    Raises:
        FerLabError: the file is absent, of another kind, damaged, a full pickle, or fits under 90 % of the tensors.
    """
    found = read_tensors(path)
    own = {name: tensor for name, tensor in body.state_dict().items() if not name.endswith("num_batches_tracked")}
    fitting = {name: found[name] for name in own if name in found and found[name].shape == own[name].shape}
    missing = sorted(set(own) - set(fitting))
    unexpected = sorted(name for name in found if name not in own and not name.endswith("num_batches_tracked"))
    if len(fitting) < _LEAST_MATCH * len(own):
        raise FerLabError(
            f"{path} fits {len(fitting)} of the backbone's {len(own)} tensors (missing or of another shape: "
            f"{', '.join(missing[:4])} …; unexpected: {', '.join(unexpected[:4]) or 'none'}); "
            "choose the backbone it was made for."
        )
    if missing or unexpected:
        warnings.warn(
            f"{path.name}: {len(fitting)} of {len(own)} tensors loaded; missing: {', '.join(missing) or 'none'}; "
            f"unexpected: {', '.join(unexpected) or 'none'}",
            stacklevel=2,
        )
    body.load_state_dict(fitting, strict=False)
    return sorted({name.rpartition(".")[0] for name in missing})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or weights-only .pth file; nothing in it is ever executed.

    Of a run's model.safetensors only the backbone's, under timm's names: what was trained on smaller faces goes on with
    larger ones (progressive resizing).

    Raises:
        FerLabError: see :func:`load_weights`.
    """
    if not path.is_file():
        raise FerLabError(
            f"backbone.weights={path} does not exist; give none, hub, pretrained or a .safetensors or .pth file."
        )
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
            own = {name: tensor for name, tensor in tensors.items() if name.startswith(_OWN_PREFIX)}
            return {name.removeprefix(_OWN_PREFIX): tensor for name, tensor in own.items()} or tensors
        if path.suffix not in (".pth", ".pt"):
            raise FerLabError(f"backbone.weights={path} is neither .safetensors nor .pth.")
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]  # without torch's advice to trust the file
        raise FerLabError(
            f"{path} is damaged or not a weights-only file ({reason}); save it as .safetensors."
        ) from error
    loaded = loaded.get("state_dict", loaded)
    return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, Tensor)}


def _tensors_hash(body: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(body.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()
