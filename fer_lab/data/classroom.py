"""What a classroom camera does to a face: light from behind, dusk, hands and books in front of it, blur, small crops.

Pure functions `f(face, amount, rng)`: face uint8 H×W×C (C 1, grey, or 3, RGB), amount in [0, 1], where 0 gives the face
as it is and 1 is the strongest, rng a `numpy.random.Generator`, which is all that a draw depends on. All return uint8
H×W×C. The steps of `augment=classroom` and the robustness suite draw with them, so both mean the same by a word.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np

from fer_lab.errors import FerLabError

Kind = Literal["hand", "mask", "book"]
Region = Literal["upper", "lower", "side"]
KINDS: tuple[Kind, ...] = ("hand", "mask", "book")
REGIONS: tuple[Region, ...] = ("upper", "lower", "side")

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_REACH = {"hand": 0.72, "mask": 0.55, "book": 0.58}  # of the picture's side that the strongest occluder comes in
_TILT = {"hand": 35, "mask": 4, "book": 12}  # degrees to either side
_MASKS = ((150, 195, 215), (225, 228, 228), (45, 45, 50))  # RGB under full light: surgical blue, white, black
_COVERS = ((160, 40, 40), (35, 70, 140), (40, 110, 70), (205, 165, 60), (70, 60, 60), (210, 205, 195))


def backlight(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """A window behind the head: the face gets darker, a veil of light spreads from one side or corner."""
    if amount <= 0:
        return face
    height, width = face.shape[:2]
    angle = rng.uniform(-np.pi, 0)  # of the window, seen from the middle: anywhere but below
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    nearness = np.clip(0.5 + 0.5 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)
    around = np.clip((x / 0.8) ** 2 + y**2 - 0.4, 0, 1)  # beside the head it is seen itself
    veil = amount * np.clip(0.75 * nearness**2 + 0.6 * nearness * around, 0, 0.95)[:, :, None]
    return _uint8(face * (1 - 0.7 * amount) * (1 - veil) + 255 * veil)


def low_light(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Too little light: down to a fifth of it, with the noise of a camera that amplifies what is left."""
    if amount <= 0:
        return face
    dark = face * (1 - 0.8 * amount)
    return _uint8(dark + amount * (2 + 0.35 * np.sqrt(dark)) * rng.standard_normal(face.shape, np.float32))


def over_exposure(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Too much light: shadows up to 2.8 times as bright, highlights run together towards white. Draws nothing."""
    return face if amount <= 0 else _uint8(255 - 255 * (1 - face / np.float32(255)) ** (1 + 1.8 * amount))


def turn(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """The head off the camera's axis: a plane turned by up to 45° to one side and 12° up or down, in perspective."""
    if amount <= 0:
        return face
    height, width = face.shape[:2]
    yaw = np.radians(45) * amount * rng.choice((-1.0, 1.0))
    pitch = np.radians(12) * amount * rng.uniform(-1, 1)
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float64)
    around_y = np.array([(np.cos(yaw), 0, np.sin(yaw)), (0, 1, 0), (-np.sin(yaw), 0, np.cos(yaw))])
    around_x = np.array([(1, 0, 0), (0, np.cos(pitch), -np.sin(pitch)), (0, np.sin(pitch), np.cos(pitch))])
    turned = corners @ (around_x @ around_y).T
    seen = turned[:, :2] * 4 / (4 + turned[:, 2:])  # from four half-sides away
    seen = seen / np.sqrt(np.abs(seen[:, 0]).max() * np.abs(seen[:, 1]).max())  # a detector's crop of it fits it again
    side = np.array([width, height])
    to_pixels = [((points + 1) / 2 * side - 0.5).astype(np.float32) for points in (corners[:, :2], seen)]
    matrix = cv2.getPerspectiveTransform(*to_pixels)
    moved = cv2.warpPerspective(face, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return moved.reshape(face.shape)


def motion_blur(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """A head that moves while the shutter is open: along a straight way of up to a fifth of the picture's side."""
    if amount <= 0:
        return face
    way, angle = amount * 0.2 * max(face.shape[:2]), rng.uniform(0, np.pi)
    half = int(np.ceil(way / 2)) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    along = np.linspace(-way / 2, way / 2, 8 * half)
    y, x = along * np.sin(angle) + half, along * np.cos(angle) + half
    top, left = y.astype(int), x.astype(int)
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        np.add.at(kernel, (row, column), (1 - np.abs(y - row)) * (1 - np.abs(x - column)))
    blurred = cv2.filter2D(face, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(face.shape)


def noise(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with a standard deviation of up to 30 grey levels, in each channel for itself."""
    return face if amount <= 0 else _uint8(face + 30 * amount * rng.standard_normal(face.shape, np.float32))


def jpeg(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Written and read as JPEG, with a quality from 90 down to 6. Draws nothing."""
    if amount <= 0:
        return face
    quality = round(90 - 84 * min(amount, 1.0))
    bgr = face[:, :, ::-1] if face.shape[2] == 3 else face
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(face.shape)
    return np.ascontiguousarray(read[:, :, ::-1]) if face.shape[2] == 3 else read


def low_resolution(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """A face far from the camera: reduced by up to 5 and enlarged again. Draws nothing."""
    if amount <= 0:
        return face
    height, width = face.shape[:2]
    small = [max(round(side / (1 + 4 * amount)), 2) for side in (width, height)]
    reduced = cv2.resize(face, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR).reshape(face.shape)


def occlude(face: np.ndarray, amount: float, rng: np.random.Generator, kind: Kind, region: Region) -> np.ndarray:
    """A hand, a surgical mask or a book comes in from below, from above or from one side, and casts a soft shadow.

    Args:
        amount: how far it comes in, 1 covers about half of the face; kind: hand, book or mask, which is worn "lower".
        region: lower (mouth and chin), upper (forehead and eyes) or side (half of the face, left or right by draw).

    Raises:
        FerLabError: `kind` or `region` is unknown.
    """
    if kind not in KINDS or region not in REGIONS:
        raise FerLabError(f"An occluder {kind}, {region} is unknown; take one of {KINDS} and one of {REGIONS}.")
    if amount <= 0:
        return face
    height, width, channels = face.shape
    fine = 4 if max(height, width) <= 64 else 2  # drawn finer than the face, for smooth edges
    quarter = {"lower": 0.0, "upper": 180.0, "side": rng.choice((-90.0, 90.0))}[region]
    tilt, shift = rng.uniform(-_TILT[kind], _TILT[kind]), rng.uniform(-0.1, 0.1) * (kind != "mask")
    brush = _Brush((fine * height, fine * width, channels), quarter, tilt, shift, 1 - amount * _REACH[kind])
    _DRAW[kind](brush, _light(face), _skin(face), rng)
    reduced = cv2.resize(brush.canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    drawn = cv2.GaussianBlur(reduced, (0, 0), 0.01 * max(height, width))  # as soft as a lens makes it
    colour, alpha = drawn[:, :, :-1], drawn[:, :, -1:] / 255
    shadow = cv2.GaussianBlur(alpha, (0, 0), 0.04 * height).reshape(height, width, 1)
    return _uint8(colour + (1 - alpha) * face * (1 - 0.5 * shadow))  # the canvas is black where nothing was drawn


class _Brush:
    """Draws on a canvas in the occluder's own coordinates, in units of the picture's side.

    u runs across, from -0.5 to 0.5 over the picture; v runs out of the picture, from 0 at the occluder's front.

    Args:
        shape: H, W, C of the canvas, whose last channel of C + 1 says what is covered; quarter, tilt: degrees of the
            region and of the object in it; shift, front: where u = 0 and v = 0 lie before it is turned to its region.
    """

    def __init__(self, shape: tuple[int, int, int], quarter: float, tilt: float, shift: float, front: float) -> None:
        height, width, self.channels = shape
        self.canvas = np.zeros((height, width, self.channels + 1), np.uint8)
        self.side = height
        tilted, turned = (
            np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
            for angle in np.radians((tilt, quarter))
        )
        size = np.array([width, height])
        self._matrix = (tilted @ turned * size).tolist()
        self._origin = (((shift, front - 0.5) @ turned + 0.5) * size).tolist()

    def _points(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        """int32 N×1×2, canvas pixels of points (u, v)."""
        (xu, yu), (xv, yv) = self._matrix
        x, y = self._origin
        return np.array([[[round(x + u * xu + v * xv), round(y + u * yu + v * yv)]] for u, v in points], np.int32)

    def area(self, points: Sequence[tuple[float, float]], colour: np.ndarray) -> None:
        """A filled polygon."""
        cv2.fillPoly(self.canvas, [self._points(points)], (*colour.tolist(), 255))

    def stroke(self, points: Sequence[tuple[float, float]], width: float, colour: np.ndarray) -> None:
        """A line with round ends."""
        thickness = max(round(width * self.side), 1)
        cv2.polylines(self.canvas, [self._points(points)], False, (*colour.tolist(), 255), thickness)


def _hand(brush: _Brush, light: float, skin: np.ndarray, rng: np.random.Generator) -> None:
    """Four fingers side by side, a thumb, and the back of the hand over their roots."""
    mirror, spread = rng.choice((-1.0, 1.0)), rng.uniform(0.9, 1.25)
    tone = np.clip(skin * rng.uniform(0.85, 1.15), 12, 235)
    edge, bright = tone * 0.72, np.clip(tone * 1.06, 0, 250)

    def finger(points: Sequence[tuple[float, float]], width: float) -> None:
        points = [(mirror * u, v) for u, v in points]
        for colour, part in ((edge, 1.0), (tone, 0.82), (bright, 0.4)):
            brush.stroke(points[:2], part * width, colour)
            brush.stroke(points[1:], part * width * 0.88, colour)  # towards the tip it gets thinner

    finger([(-0.18, 0.95), (-0.35, 0.66), (-0.4, 0.47)], 0.15)
    for u, tip in ((-0.19, 0.13), (-0.065, 0.07), (0.065, 0.1), (0.185, 0.21)):
        finger([(u, 0.6), (u * (1 + spread) / 2, 0.35), (u * spread, tip)], 0.145)
    back = [(-0.27, 0.6), (-0.2, 0.5), (0.2, 0.5), (0.27, 0.6), (0.24, 1.6), (-0.24, 1.6)]
    brush.area([(mirror * u, v) for u, v in back], tone)
    for u in (-0.19, -0.065, 0.065, 0.185):  # knuckles, rounder than a straight edge
        brush.stroke([(mirror * (u - 0.02), 0.53), (mirror * (u + 0.02), 0.53)], 0.11, tone)


def _mask(brush: _Brush, light: float, skin: np.ndarray, rng: np.random.Generator) -> None:
    """A pleated surgical mask: highest over the nose, held by two loops."""
    cloth = _as(brush, _MASKS[rng.choice(3, p=(0.5, 0.3, 0.2))], light)
    half, loop = rng.uniform(0.36, 0.42), cloth * 0.9
    for v in (0.16, 0.5):
        brush.stroke([(-half, v), (-0.7, v - 0.22)], 0.02, loop)
        brush.stroke([(half, v), (0.7, v - 0.22)], 0.02, loop)
    outline = [(-half, 0.12), (-0.2, 0.06), (-0.08, 0.0), (0.08, 0.0), (0.2, 0.06), (half, 0.12),
               (half, 0.4), (0.26, 0.62), (-0.26, 0.62), (-half, 0.4)]  # fmt: skip
    brush.area(outline, cloth)
    for side in (-1, 1):
        shade = [(half, 0.12), (0.25, 0.08), (0.23, 0.62), (0.26, 0.62), (half, 0.4)]
        brush.area([(side * u, v) for u, v in shade], cloth * 0.92)
    for v in (0.2, 0.31, 0.42):
        brush.stroke([(-half, v), (0, v + 0.03), (half, v)], 0.012, cloth * 0.82)
    brush.stroke([(-0.2, 0.075), (-0.07, 0.02), (0.07, 0.02), (0.2, 0.075)], 0.014, np.clip(cloth * 1.08, 0, 255))


def _book(brush: _Brush, light: float, skin: np.ndarray, rng: np.random.Generator) -> None:
    """A cover with its title, the edge of the pages in front of it, and fingers that hold it at its sides."""
    cover = _as(brush, _COVERS[rng.integers(len(_COVERS))], light)
    paper, ink = _as(brush, (235, 230, 215), light), np.clip(cover * 0.55, 0, 255)
    if cover.mean() < 110:
        ink = np.clip(cover * 0.5 + 110 * light, 0, 255)
    half = rng.uniform(0.42, 0.6)
    brush.area([(-half, 0.0), (half, 0.0), (half, 1.4), (-half, 1.4)], paper)
    brush.area([(-half, 0.025), (half, 0.025), (half, 1.4), (-half, 1.4)], cover)
    brush.stroke([(-half + 0.06, 0.03), (-half + 0.06, 1.4)], 0.015, cover * 0.7)  # the fold
    for v, part in ((0.17, 0.6), (0.28, rng.uniform(0.2, 0.5))):
        brush.stroke([(-part * half, v), (part * half, v)], 0.055, ink)
    for side in (-1, 1):
        where = rng.uniform(0.2, 0.6)
        for number in range(4):
            v = where + 0.085 * number
            for colour, width in ((skin * 0.72, 0.09), (skin, 0.07)):
                brush.stroke([(side * (half + 0.1), v + 0.03), (side * (half - 0.12), v)], width, colour)


_DRAW: dict[str, Callable[[_Brush, float, np.ndarray, np.random.Generator], None]] = {
    "hand": _hand, "mask": _mask, "book": _book,
}  # fmt: skip


def _skin(face: np.ndarray) -> np.ndarray:
    """float32 C, the colour of cheeks and nose: a hand before one's own face has about the same."""
    height, width = face.shape[:2]
    middle = face[height * 2 // 5 : height * 7 // 10, width // 4 : width * 3 // 4]
    return _quantile(middle.reshape(-1, face.shape[2]), 0.65)


def _light(face: np.ndarray) -> float:
    """How bright the scene is, 1 for full light: objects in front of a dark face are dark too."""
    return float(np.clip(_quantile(face.reshape(-1, 1), 0.75)[0] / 180, 0.25, 1.1))


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """float32 C, of each column of N×C; np.quantile takes ten times as long."""
    place = int(share * (len(values) - 1))
    return np.partition(values, place, axis=0)[place].astype(np.float32)


def _as(brush: _Brush, rgb: Sequence[int], light: float) -> np.ndarray:
    """A colour, RGB in 0-255 under full light, in the canvas's channels and the scene's light: float32 C."""
    colour = np.array(rgb, np.float32) * light
    return np.clip(colour if brush.channels == 3 else colour[None] @ _LUMA, 0, 255)


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
