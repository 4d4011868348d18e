"""Illumination normalisation as part of the network: the same in training, in the exported graph and live."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.errors import FerLabError

_LEVELS = 256
_LUMA = (4899.0, 9617.0, 1868.0)  # ITU-R BT.601 in 2^-14, as OpenCV has it: sums are exact, whatever adds them up


class Clahe(nn.Module):
    """Contrast-limited adaptive histogram equalisation, `cv2.createCLAHE` within one grey level, as torch operations.

    Zuiderveld 1994, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV; details as OpenCV has them:
    its border, its integer clip limit and the way it hands out what it clips; only the result is not rounded. A grey
    face is equalised itself; of an RGB face the luma Y of YCrCb, whose change is added to all three channels: chroma
    stays.

    Args:
        clip_limit: how often a grey level may occur in a tile, as a multiple of its share of a flat histogram; at least
            one pixel. tiles: rows and columns of tiles.

    Raises:
        FerLabError: the clip limit is not positive, or tiles is below 1.
    """

    def __init__(self, clip_limit: float, tiles: int) -> None:
        super().__init__()
        if clip_limit <= 0 or tiles < 1:
            raise FerLabError(
                f"illumination.clip_limit={clip_limit} must be positive and illumination.tiles={tiles} at least 1."
            )
        self.clip_limit, self.tiles = float(clip_limit), int(tiles)
        self.register_buffer("luma", torch.tensor(_LUMA).view(1, 3, 1, 1), persistent=False)

    def extra_repr(self) -> str:
        return f"clip_limit={self.clip_limit:g}, tiles={self.tiles}"

    def forward(self, images: Tensor) -> Tensor:
        """Equalised faces.

        Args:
            images: uint8 or float N×C×H×W in 0-255, C 1 (grey) or 3 (RGB), at their native size.

        Returns:
            float32 (or the float type of `images`) N×C×H×W in 0-255.
        """
        images = images if images.is_floating_point() else images.float()
        if images.shape[1] == 1:
            return self._equalised(images)
        grey = ((images.round() * self.luma).sum(1, keepdim=True) / 2**14 + 0.5).floor()
        return (images + self._equalised(grey) - grey).clamp(0, 255)

    def _equalised(self, grey: Tensor) -> Tensor:
        """Float N×1×H×W, rounded to grey levels, to float N×1×H×W."""
        height, width = grey.shape[-2:]
        levels = grey.round().clamp(0, 255)
        tables, tile_height, tile_width = self._tables(levels)
        top, bottom, down = self._between(height, tile_height, grey)
        left, right, along = self._between(width, tile_width, grey)
        down = down[:, None]
        index = levels.long().flatten(1)

        def seen(rows: Tensor, columns: Tensor) -> Tensor:
            """What the tables of tiles (rows, columns), one a pixel, make of the pixels: N×1×H×W."""
            start = (rows[:, None] * self.tiles + columns[None]) * _LEVELS
            return tables.gather(1, index + start.flatten()[None]).view_as(grey)

        upper = seen(top, left) * (1 - along) + seen(top, right) * along
        lower = seen(bottom, left) * (1 - along) + seen(bottom, right) * along
        return upper * (1 - down) + lower * down  # unrounded: no runtime's last bit can tip a grey level

    def _tables(self, levels: Tensor) -> tuple[Tensor, int, int]:
        """Grey level to grey level, for each tile: float N×(tiles·tiles·256), and a tile's height and width."""
        t = self.tiles
        height, width = levels.shape[-2:]
        if height % t or width % t:  # OpenCV pads both by a whole tile count, also where one of them divides
            levels = _reflected(levels, t - height % t, t - width % t)
        tile_height, tile_width = levels.shape[-2] // t, levels.shape[-1] // t
        area = tile_height * tile_width
        tiles = levels.view(-1, t, tile_height, t, tile_width).transpose(2, 3).reshape(-1, t * t, area).long()
        histogram = torch.zeros((levels.shape[0], t * t, _LEVELS), dtype=levels.dtype, device=levels.device)
        histogram = histogram.scatter_add(2, tiles, torch.ones_like(tiles, dtype=levels.dtype))
        limit = max(int(self.clip_limit * area / _LEVELS), 1)
        clipped = (histogram - limit).clamp(min=0).sum(2, keepdim=True)
        share = (clipped / _LEVELS).floor()
        rest = clipped - share * _LEVELS  # one each for every step-th level, as long as it lasts
        step = (_LEVELS / rest.clamp(min=1)).floor().clamp(min=1)
        level = torch.arange(_LEVELS, dtype=levels.dtype, device=levels.device)
        turn = (level / step).floor()
        extra = ((turn * step == level) & (turn < rest)).to(levels.dtype)
        flat = histogram.clamp(max=limit) + share + extra
        return (flat.cumsum(2) * (255 / area)).round().clamp(0, 255).flatten(1), tile_height, tile_width

    def _between(self, length: int, tile: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each pixel of a line: the tiles before and after it, int64, and the share of the second, float."""
        where = torch.arange(length, dtype=like.dtype, device=like.device) / tile - 0.5
        before = where.floor()
        first, last = (tiles.clamp(0, self.tiles - 1).long() for tiles in (before, before + 1))
        return first, last, where - before


def _reflected(images: Tensor, below: int, right: int) -> Tensor:
    """N×1×H×W, longer at the lower and right border by a mirror image without the border itself."""
    return F.pad(images, (0, right, 0, below), mode="reflect")


def no_normalisation() -> None:
    """Faces as they are."""
