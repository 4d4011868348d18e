"""Any image file to the uint8 square that a network is trained on, by rules that are the same for every source.

What a file is, its content says, not its suffix. It becomes 8-bit grey or RGB like this: turned upright as its EXIF
data say; of an animation, the first frame; 16-bit greys by their full range (65535 becomes 255); CMYK, palettes and
other colour spaces as Pillow converts them to RGB; transparent parts over mid-grey (128), which neither darkens nor
lightens. Then :func:`fit` makes it a square.
"""

import io
import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_lab.errors import FerLabError

Fit = Literal["crop", "pad"]
#: Pixels that are decoded at most: 64 million are 192 MB in RGB. Larger JPEGs are decoded at 1/2, 1/4 or 1/8 of their
#: side, other files of that size are refused.
MAX_PIXELS = 64_000_000
MID_GREY = 128
#: Pillow's readers that are used: pixels with a signature of their own. EPS, PDF or WMF would start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "PSD", "SGI")
#: How configs spell channels.
CHANNELS = {"grey": 1, "rgb": 3}
_REMEDY = "replace or remove it, or use data.on_corrupt=skip"


def read_image(file: Path | bytes, where: str) -> np.ndarray:
    """Decode an image, upright, as the module says.

    Args:
        file: path, or the encoded bytes.
        where: the file's name (and row), for messages.

    Returns:
        uint8 H×W×C, C 1 where the image is grey and 3 (RGB) otherwise.

    Raises:
        FerLabError: it is missing, unreadable, empty, no image, truncated, too large or of an unknown kind of pixels.
    """
    encoded = file if isinstance(file, bytes) else _bytes_of(file, where)
    if not encoded:
        raise FerLabError(f"{where}: the file is empty; {_REMEDY}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is raised
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                return _decode(image, where)
    except FerLabError:
        raise
    except UnidentifiedImageError as error:
        raise FerLabError(f"{where}: not an image that can be read, whatever its name says; {_REMEDY}.") from error
    except Image.DecompressionBombError as error:
        raise FerLabError(_too_large(where, "over 178")) from error
    except Exception as error:  # Pillow's plugins raise what they like on damaged files
        raise FerLabError(f"{where}: the image is damaged ({error}); {_REMEDY}.") from error


def is_image(path: Path) -> bool:
    """Whether a file's content begins like an image; also True where it cannot be opened, so that this is reported."""
    if path.exists() and not path.is_file():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=FORMATS).close()
    except UnidentifiedImageError:
        return False
    except OSError:
        return True
    except Exception:  # a plugin took it for its own, and failed at once
        return False
    return True


def fit(image: np.ndarray, size: int, channels: int, how: Fit = "crop") -> np.ndarray:
    """Make a square of a picture: the longer side is cut on both ends (or the shorter one padded with mid-grey), then
    it is resized, downwards by area averaging, upwards bilinearly.

    Args:
        image: uint8 H×W×1 (grey) or H×W×3 (RGB).
        size: side of the result in pixels.
        channels: 1 turns colours into ITU-R BT.601 luma, 3 repeats greys.
        how: crop or pad.

    Returns:
        uint8 size×size×channels, C-contiguous.
    """
    image = to_channels(_cropped(image) if how == "crop" else _padded(image), channels)
    if image.shape[0] == size:
        return np.ascontiguousarray(image)
    way = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=way).reshape(size, size, channels)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 H×W×1 or H×W×3 (RGB) as H×W×channels."""
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[..., None]


def _bytes_of(path: Path, where: str) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise FerLabError(f"{where}: this is no file; {_REMEDY}.")
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise FerLabError(
            f"{where}: no permission to read the file; change it, or use data.on_corrupt=skip."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise FerLabError(
            f"{where}: the file cannot be read ({getattr(error, 'strerror', error)}); {_REMEDY}."
        ) from error


def _decode(image: Image.Image, where: str) -> np.ndarray:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS and image.format in ("JPEG", "MPO"):
        share = (MAX_PIXELS / pixels) ** 0.5 / 2  # draft keeps at least the size asked for, at most twice of it
        image.draft(None, (round(image.width * share), round(image.height * share)))
        pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise FerLabError(_too_large(where, f"{pixels / 1e6:.0f}"))
    image.seek(0)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_deep(np.asarray(upright), where)
    if upright.has_transparency_data:
        backdrop = Image.new("RGBA", upright.size, (MID_GREY, MID_GREY, MID_GREY, 255))
        upright = Image.alpha_composite(backdrop, upright.convert("RGBA")).convert(
            "L" if upright.mode in ("LA", "La", "L", "1") else "RGB"
        )
    if upright.mode not in ("L", "RGB"):
        upright = upright.convert("L" if upright.mode == "1" else "RGB")
    return np.array(upright).reshape(upright.height, upright.width, -1)


def _from_deep(values: np.ndarray, where: str) -> np.ndarray:
    """H×W greys of more than 8 bits as uint8 H×W×1."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise FerLabError(
            f"{where}: its greys are {values.dtype} from {values.min():g} to {values.max():g}, whose black and white "
            "are unknown; save it with 8 or 16 bits."
        )
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)[..., None]


def _too_large(where: str, megapixels: str) -> str:
    return (
        f"{where}: {megapixels} megapixels, {MAX_PIXELS // 1_000_000} are decoded at most; make it smaller, or use "
        "data.on_corrupt=skip."
    )


def _cropped(image: np.ndarray) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def _padded(image: np.ndarray) -> np.ndarray:
    height, width, channels = image.shape
    side = max(height, width)
    square = np.full((side, side, channels), MID_GREY, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square
