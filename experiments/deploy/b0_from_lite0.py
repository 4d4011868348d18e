"""A start for EfficientNet-B0 where its own ImageNet weights cannot be had: those of EfficientNet-Lite0.

Lite0 is B0 without squeeze-excite and with ReLU6 for SiLU, so all its tensors fit. The gates start open (sigmoid(4) is
0.98), and fine-tuning does the rest. A substitute: a row trained from it is no reproduction of B0.

    python experiments/deploy/b0_from_lite0.py <efficientnet_lite0.safetensors> <efficientnet_b0.from_lite0.safetensors>
"""

import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file


def convert(lite0: Path, b0: Path) -> None:
    """Write `b0`, timm's efficientnet_b0 without classifier, from timm's (tf_)efficientnet_lite0."""
    torch.manual_seed(0)
    tensors = timm.create_model("efficientnet_b0", num_classes=0).state_dict()
    for name, tensor in load_file(lite0).items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            raise SystemExit(f"{lite0}: {name} does not fit efficientnet_b0: give EfficientNet-Lite0's weights.")
        tensors[name] = tensor
    for name in tensors:
        if name.endswith("se.conv_expand.weight"):
            tensors[name] = torch.zeros_like(tensors[name])
        elif name.endswith("se.conv_expand.bias"):
            tensors[name] = torch.full_like(tensors[name], 4.0)
    save_file(tensors, b0, {"timm": "efficientnet_b0", "source": lite0.name})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
