"""Quantisation-aware fine-tuning: weights learn to be rounded before they are (Jacob et al. 2018, section 3.1).

NNCF puts a fake quantiser, which rounds forwards and lets gradients through backwards, wherever a runtime computes on
integers; through them the network is distilled from the float one (`fer_lab.deploy.distill`). What comes out is a
float network whose weights stand rounding. Each runtime's own quantiser makes the file from it, so that it is laid out,
and as fast, as one quantised after training.
"""

import copy
import logging
import os
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import nn

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy.distill import Distillation, Teach
from fer_lab.extras import optional
from fer_lab.models.network import Network

BATCH = 16
RATE = 0.5  # of the distillation's learning rate: the weights start where they should end
_OWN = "1."  # prefix of the network's tensors in `fake_quantized`'s
_HOOKS = "__nncf_hooks"


def fine_tune(
    network: Network,
    faces: np.ndarray,
    distillation: Distillation,
    teach: Teach,
    training: FaceSplit,
    macs: int,
    seed: int,
) -> tuple[Network, dict[str, Any]]:
    """A copy of `network` with weights that were trained rounded, in eval mode, and what was done.

    Args:
        network: what a runtime is to compute on integers. faces: those on which ranges are measured, uint8 N×H×W×C.
        teach, training, macs, seed: as the distillation wants them.

    Raises:
        FerLabError: nncf is not installed.
    """
    slower = replace(distillation, lr=distillation.lr * RATE)
    student, done = slower(fake_quantized(network, faces), teach, training, macs, seed)  # type: ignore[arg-type]
    tensors = student.state_dict()
    own = {name.removeprefix(_OWN): t for name, t in tensors.items() if name.startswith(_OWN) and _HOOKS not in name}
    learned = copy.deepcopy(network).cpu()
    learned.load_state_dict(own)
    return learned.eval(), {**done, "quantisers": sum(name.endswith("fake_quant_enabled") for name in tensors)}


def fake_quantized(network: Network, faces: np.ndarray) -> nn.Sequential:
    """Preprocessing, in float, and a copy of the network between fake quantisers: uint8 faces to logits float32 N×K.

    Eight bits; weights symmetric with one scale an output channel, activations with one scale a tensor, as all runtimes
    can compute them; the first convolution stays float, as the runtimes' quantisers leave it. BatchNorm keeps its
    statistics. faces: uint8 N×H×W×C, on which activation ranges are measured; they stay fixed.
    """
    os.environ.setdefault("NNCF_CI", "1")  # no usage statistics are sent
    nncf = optional("nncf", "openvino")
    from nncf.quantization import advanced_parameters as advanced
    from nncf.torch.function_hook.wrapper import get_hook_storage
    from nncf.torch.quantization.layers import BaseQuantizer
    from nncf.torch.quantization.strip import convert_to_torch_fakequantizer

    nncf.set_log_level(logging.ERROR)
    plain = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    preprocess, plain.preprocess = plain.preprocess, nn.Identity()
    with torch.no_grad():
        starts = range(0, len(faces), BATCH)
        images = [preprocess(torch.from_numpy(np.array(faces[start : start + BATCH]))) for start in starts]
    with redirect_stdout(StringIO()):
        hooked = nncf.quantize(
            plain,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            advanced_parameters=advanced.AdvancedQuantizationParameters(
                overflow_fix=advanced.OverflowFix.ENABLE,  # 7-bit weights, as the files have
                activations_quantization_params=advanced.QuantizationParameters(per_channel=False),
                disable_bias_correction=True,
                disable_channel_alignment=True,
            ),
        )
    # NNCF's own quantisers compile C++ when first used, so torch's take their places. `nncf.strip` does that, too, but
    # uses NNCF's once more, and rounds the weights for good.
    hooks = get_hook_storage(hooked)
    found = [(name, hook) for name, hook in hooks.named_hooks() if isinstance(hook, BaseQuantizer)]
    stem = next(name for name, _ in found if name.startswith("pre_hooks") and "conv2d" in name)  # in order of use
    for name, hook in found:
        kept_float = name == stem or name.startswith("post_hooks.inputs__")
        hooks.set_submodule(name, nn.Identity() if kept_float else convert_to_torch_fakequantizer(hook))
    for module in hooked.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.track_running_stats = False  # they are right, and are not measured again
    return nn.Sequential(preprocess, hooked)
