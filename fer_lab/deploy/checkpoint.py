"""Weights of a Lightning checkpoint, read without running anything that it holds."""

import pickle
import zipfile
from pathlib import Path

import torch
from torch import nn

from fer_lab.errors import FerLabError

PREFIX = "network."  # what FERModule calls its network


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the checkpoint's weights into `network`.

    A checkpoint is a pickle, which can run any program when it is read; only tensors and plain containers are allowed.

    Raises:
        FerLabError: the file is no checkpoint, holds Python objects, or weights of another network.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch does not compare the checksums
                raise FerLabError(f"{path} is damaged ({damaged} has another CRC-32 than when it was written)")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FerLabError:
        raise
    except pickle.UnpicklingError as error:
        raise FerLabError(
            f"{path} is damaged, or holds Python objects beside its weights, which could run any program and are not "
            "read: save its weights as model.safetensors"
        ) from error
    except Exception as error:  # torch has no common base class for what a broken archive leads to
        raise FerLabError(f"{path} is no readable checkpoint ({str(error).strip()[:100]}): copy it again") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise FerLabError(f"{path} holds no state_dict: give a checkpoint that Lightning wrote")
    own = {name.removeprefix(PREFIX): value for name, value in state.items() if str(name).startswith(PREFIX)}
    try:
        network.load_state_dict(own)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise FerLabError(f"{path} holds the weights of another network than its run ({reason})") from error
