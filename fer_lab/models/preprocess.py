"""The one preprocessing path: part of the network in training, evaluation, the exported graph and the live pipeline."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.errors import FerLabError


class Preprocess(nn.Module):
    """uint8 faces to normalised float images.

    Args:
        input_size: side of the network's input in pixels; faces are resized to it bilinearly.
        mean, std: of the three channels, in units of the 0-1 range.
        illumination: float N×C×H×W in 0-255 to the same, before the resize; None leaves the light as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, input_size: int, mean: Sequence[float], std: Sequence[float], illumination: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.input_size, self.illumination = input_size, illumination
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, 3, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        """Normalise the illumination, resize, scale and normalise.

        Args:
            faces: uint8 N×H×W×C or N×C×H×W, C 1 (grey, repeated) or 3 (RGB).

        Returns:
            float32 N×3×input_size×input_size.

        Raises:
            FerLabError: the tensor is not uint8, or neither its last nor its second dimension is 1 or 3.
        """
        if faces.dtype != torch.uint8 or faces.dim() != 4:
            raise FerLabError(f"Faces must be uint8 with 4 dimensions, not {faces.dtype} {tuple(faces.shape)}.")
        if faces.shape[-1] in (1, 3):
            faces = faces.permute(0, 3, 1, 2)
        elif faces.shape[1] not in (1, 3):
            raise FerLabError(f"Faces must have 1 or 3 channels, first or last; the shape is {tuple(faces.shape)}.")
        images = faces.to(self.mean.dtype)
        if self.illumination is not None:
            images = self.illumination(images)
        size = (self.input_size, self.input_size)
        if tuple(images.shape[-2:]) != size:
            shrinks = images.shape[-1] > self.input_size
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)
        return (images / 255 - self.mean) / self.std
