"""Draws one grey face from an identity, action units (AU) and a scene, with OpenCV polygons and soft shading.

Face coordinates: x to the right, y down, the face's centre at (0, 0), the chin near y = 1, one unit = half the face's
height. Functions take and give N×2 float arrays of them, and AU intensities as a mapping from number to 0..1 that has
every number of `DRAWN`.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from fer_lab.data.synthetic_traits import Identity, Scene

Units = Mapping[int, float]
_ARC = np.linspace(-1, 1, 13)
_BOW = 1 - _ARC**2
_ROUND = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], 1)
_ROUNDNESS = np.array([1 / 0.81, 1 / 1.21])  # the ball: nothing moves beyond 0.9 to the sides, 1.1 above and below
_RIM = 0.72  # the outline turns away from the viewer and is darker
_SHIFT = 4  # OpenCV draws polygons at 1/16 pixel


class Painter:
    """A grey canvas (uint8 height×width), and the way from face coordinates to its pixels.

    Args:
        image: the canvas, painted over.
        size: side of the face's square in pixels, in the middle of the canvas.
        scene: pose.
    """

    def __init__(self, image: np.ndarray, size: int, scene: Scene) -> None:
        self.image = image
        height, width = image.shape
        self.unit = 0.47 * size * scene.scale
        cos, sin = self.unit * np.cos(np.deg2rad(scene.rotation)), self.unit * np.sin(np.deg2rad(scene.rotation))
        centre = (width / 2 + scene.shift_x * size, height / 2 + scene.shift_y * size)
        self.matrix = np.array([[cos, -sin, centre[0]], [sin, cos, centre[1]]]) * (1 << _SHIFT)
        self.turn = np.array([0.13 * scene.yaw, 0.07 * scene.pitch])

    def place(self, points: np.ndarray, turned: bool) -> np.ndarray:
        """To fixed-point pixels; features lie on a turned ball, outlines (turned=False) do not move with it."""
        if turned:
            bulge = np.maximum(1 - _ROUNDNESS * points * points, 0)
            points = points + bulge[:, :1] * bulge[:, 1:] * self.turn
        return cv2.transform(points[None], self.matrix)[0].astype(np.int32)

    def fill(self, points: np.ndarray, tone: float, on: np.ndarray | None = None, turned: bool = True) -> None:
        canvas = self.image if on is None else on
        cv2.fillPoly(canvas, [self.place(points, turned)], _grey(tone), cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, tone: float, thickness: float, on: np.ndarray | None = None) -> None:
        canvas = self.image if on is None else on
        pixels = max(1, round(thickness * self.unit))
        cv2.polylines(canvas, [self.place(points, True)], False, _grey(tone), pixels, cv2.LINE_AA, _SHIFT)

    def shade(self, layer: np.ndarray, softness: float) -> None:
        """Multiply the picture by a blurred layer in which 128 changes nothing."""
        soft = cv2.stackBlur(layer, (2 * round(1.8 * softness * self.unit) + 1,) * 2)
        cv2.multiply(self.image, soft, self.image, 1 / 128)


def draw(
    who: Identity, units: Units, scene: Scene, size: int, frame: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Draw a face of size×size pixels in the middle of a frame (width, height); gives uint8 height×width."""
    width, height = frame
    fine = 2 if size < 128 else 1  # OpenCV's own anti-aliasing is enough for large faces
    texture = np.clip(scene.background + rng.normal(0, 25, (4, 4)), 0, 255).astype(np.uint8)
    backdrop = cv2.resize(texture, (width * fine, height * fine), interpolation=cv2.INTER_LINEAR)
    painter = Painter(backdrop, size * fine, scene)
    _head(painter, who, units)
    _forms(painter, who, units)
    _folds(painter, who, units)
    _eyes(painter, who, units, scene.gaze)
    _mouth(painter, who, units)
    _hair(painter, who)
    if who.glasses > 0.85:
        _glasses(painter, who)
    if scene.occlusion > 0.91:
        _occluder(painter, rng)
    return _photograph(cv2.resize(painter.image, frame, interpolation=cv2.INTER_AREA), scene, size, rng)


def _grey(value: float) -> int:
    return int(min(max(value, 0), 255))


def _ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    return _CIRCLE * (radius_x, radius_y) + (x, y)


def _both(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A part of the right half of the image and its mirror image."""
    return points, points * (-1, 1)


def _band(x: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The area between two curves over the same x."""
    return np.concatenate([np.stack([x, above], 1), np.stack([x, below], 1)[::-1]])


def _path(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


def _outline(who: Identity, units: Units) -> np.ndarray:
    """An oval above, a superellipse below that the jaw drop (AU26) lengthens."""
    cos, sin = _CIRCLE.T
    below = sin > 0
    power = np.where(below, 2 / who.jaw, 1.0)
    x = who.face_width * np.sign(cos) * np.abs(cos) ** power
    y = np.where(below, who.chin + 0.1 * units[26], 0.98) * np.sign(sin) * np.abs(sin) ** power
    return np.stack([x, y], 1)


def _head(p: Painter, who: Identity, units: Units) -> None:
    """Shoulders, hair behind, neck, ears, and the face itself without features."""
    width = who.face_width
    p.fill(_ellipse(0, 2.5, 1.35, 1.3), 255 - who.hair, turned=False)
    if who.hair_length > 0.55:
        half = np.array([[width + 0.1, -0.3], [width + 0.16, 1.2]])
        p.fill(np.concatenate([half, half[::-1] * (-1, 1)]), who.hair, turned=False)
    p.fill(_path((-0.42, 0.6), (-0.46, 1.5), (0.46, 1.5), (0.42, 0.6)), 0.7 * who.skin, turned=False)
    if who.hair_length > 0.15:
        p.fill(_ellipse(0, -0.3, width + 0.12, 0.84), who.hair, turned=False)
    if who.hair_length < 0.55:
        for ear in _both(_ellipse(width, 0.02, 0.09, 0.17)):
            p.fill(ear, 0.78 * who.skin, turned=False)
    p.fill(_outline(who, units), who.skin, turned=False)


def _forms(p: Painter, who: Identity, u: Units) -> None:
    """Broad shading: rim, forehead, sockets, cheeks, nose, beard."""
    nose, mouth, eye = who.nose_y, who.mouth_y, who.eye_y
    forms = np.full_like(p.image, 128 * _RIM)
    p.fill(_outline(who, u) * 0.9, 128, forms, turned=False)
    p.fill(_ellipse(0, -0.55, 0.42, 0.22), 140, forms)
    raised = 0.07 * u[6] + 0.03 * u[12]
    for side in (-1, 1):
        p.fill(_ellipse(side * who.eye_x, eye - 0.03, 0.2, 0.13), 98, forms)
        p.fill(_ellipse(side * 0.4, 0.2 - raised, 0.17, 0.12), 142 + 16 * max(u[6], u[12]), forms)
        beside_nose = _path((0.08, eye - 0.1), (0.15, nose), (0.24, nose - 0.02), (0.13, eye))
        p.fill(beside_nose * (side, 1), 104, forms)
    p.fill(_path((-0.06, eye - 0.2), (-0.08, nose - 0.02), (0.08, nose - 0.02), (0.06, eye - 0.2)), 150, forms)
    p.fill(_ellipse(0, nose + 0.08, who.nose_width, 0.05), 92, forms)
    if who.beard > 0.65:
        hair = 128 - 0.45 * (150 - who.hair)
        p.fill(_ellipse(0, mouth - 0.12, 0.3, 0.07), hair, forms)
        if who.beard > 0.8:
            jaw, inner = _outline(who, u), _path((-0.38, 0.3), (-0.34, 0.5), (0.34, 0.5), (0.38, 0.3))
            p.fill(np.concatenate([jaw[jaw[:, 1] > 0.25], inner]), hair, forms)
    p.shade(forms, 0.07)


def _folds(p: Painter, who: Identity, u: Units) -> None:
    """Folds of the skin that the action units deepen, and the nose below them."""
    nose, mouth, eye = who.nose_y, who.mouth_y, who.eye_y
    folds = np.full_like(p.image, 128)

    def fold(depth: float, *points: tuple[float, float], wide: float = 0.025) -> None:
        if depth > 0.05:
            for half in _both(_path(*points)):
                p.line(half, 128 - 75 * min(depth, 1), wide, folds)

    age, lift = 0.35 * who.age, -0.05 * u[9]
    wing = who.nose_width + 0.03 * u[9] + 0.015 * u[12]
    for row in (-0.5, -0.58):  # raised brows fold the forehead: its middle (AU1) and its sides (AU2)
        fold(0.5 * age + 0.6 * u[1], (0, row), (0.18, row - 0.01))
        fold(0.4 * age + 0.55 * u[2], (0.18, row - 0.01), (0.4, row + 0.02))
    fold(0.6 * u[4] + 0.4 * u[9], (0.055, eye - 0.27), (0.04, eye - 0.12))
    for row in (0.0, 0.06):
        fold(u[9], (0, eye + row + 0.04), (0.1, eye + row), wide=0.03)
    fold(0.8 * u[9], (0.1, eye + 0.1), (wing + 0.02, nose - 0.02))
    corner = who.mouth_width * (1 + 0.3 * u[12] + 0.2 * u[20])
    cheek = ((wing + 0.03, nose - 0.02 + lift), (corner + 0.05, mouth - 0.1), (corner + 0.07, mouth + 0.02))
    fold(age + 0.6 * u[12] + 0.75 * u[9] + 0.2 * u[20], *cheek, wide=0.03)
    fold(0.3 * age + 0.8 * u[15], (corner, mouth + 0.1), (corner + 0.02, mouth + 0.24), wide=0.03)
    fold(0.5 * u[15] + 0.3 * u[16], (0, mouth + 0.2), (0.14, mouth + 0.23), wide=0.03)
    fold(0.8 * u[23], (0, mouth - 0.08), (0.2, mouth - 0.05))
    fold(0.8 * u[23], (0, mouth + 0.09), (0.2, mouth + 0.07))
    fold(0.7 * u[20], (corner + 0.04, mouth - 0.04), (corner + 0.09, mouth + 0.02), (corner + 0.05, mouth + 0.1))
    outer, under = who.eye_x + who.eye_width, eye + who.eye_height
    bag = ((who.eye_x - 0.12, under + 0.03), (who.eye_x, under + 0.06 - 0.02 * u[6]), (outer, under + 0.01))
    fold(0.4 * age + 0.8 * u[6] + 0.5 * u[7], *bag)
    for rise in (-0.05, 0.03):  # crow's feet
        fold(0.9 * u[6], (outer + 0.03, eye + 0.3 * rise), (outer + 0.13, eye + rise))
    p.shade(folds, 0.022)

    top = nose + 0.04 + lift
    for half in _both(_path((wing, top - 0.06), (wing + 0.015, top - 0.01), (wing - 0.02, top + 0.02))):
        p.line(half, 0.55 * who.skin, 0.025)
    for nostril in _both(_ellipse(0.55 * wing, top + 0.01, 0.035, 0.018)):
        p.fill(nostril, 0.35 * who.skin)


def _eyes(p: Painter, who: Identity, u: Units, gaze: float) -> None:
    """Eyes between their lids, and brows."""
    x = who.eye_x + who.eye_width * _ARC
    level = who.eye_y - who.eye_tilt * _ARC
    slant = 1 - 0.35 * _ARC * max(u[1] - u[2], 0)  # the sad lid hangs at its outer end
    upper = who.eye_height * (1 + 0.75 * u[5] - 0.35 * u[7] - 0.2 * u[6] - 0.2 * u[4] - 0.35 * u[9]) * slant
    lower = 0.6 * who.eye_height * (1 + 0.3 * u[5] - 0.8 * u[7] - 1.1 * u[6] - 0.7 * u[9])
    top = level - np.maximum(upper, 0.02) * _BOW**0.7
    bottom = np.maximum(level + lower * _BOW, top)
    opening, layer = np.zeros_like(p.image), np.full_like(p.image, _grey(110 + 0.5 * who.skin))
    radius = 0.92 * who.eye_height
    for side in (-1, 1):
        p.fill(_band(side * x, top, bottom), 255, opening)
        middle = side * who.eye_x + 0.03 * gaze
        p.fill(_ellipse(middle, who.eye_y - 0.01, radius, radius), who.iris, layer)
        p.fill(_ellipse(middle, who.eye_y - 0.01, 0.5 * radius, 0.5 * radius), 8, layer)
        p.fill(_ellipse(middle - 0.02, who.eye_y - 0.03, 0.018, 0.018), 240, layer)
    cv2.copyTo(layer, opening, p.image)
    crease = top - 0.05 - 0.02 * u[4] + 0.02 * u[5]
    dark = min(0.3 * who.skin, 0.6 * who.hair + 15)
    for side in (-1, 1):
        p.line(np.stack([side * x, crease], 1), 0.7 * who.skin, 0.02)
        p.line(np.stack([side * x, top], 1), dark, 0.035)
        p.line(np.stack([side * x, bottom], 1), 0.55 * who.skin, 0.015)

    t = (_ARC + 1) / 2  # 0 at the inner end of the brow
    lowered = u[4] * (1 - 0.6 * u[1])
    inner = who.eye_x - who.eye_width - 0.04 - 0.05 * u[4]
    along = inner + (who.eye_x + who.eye_width + 0.08 - inner) * t
    y = who.eye_y - who.brow_gap - who.brow_arch * _BOW + who.brow_tilt * (0.5 - t)
    y += 0.11 * lowered * (1 - 0.7 * t) + 0.05 * u[9] * (1 - t)
    y -= 0.12 * u[1] * (1 - t) ** 1.3 + 0.12 * u[2] * np.sin(0.65 * np.pi * t)
    half = 0.5 * who.brow_thickness * (1 - 0.65 * t**1.5)
    brow = _band(along, y - half, y + half)
    for part in _both(brow):
        p.fill(part, min(who.hair, 0.55 * who.skin))


def _mouth(p: Painter, who: Identity, u: Units) -> None:
    """Lips, the opening between them and the teeth in it."""
    reach = who.mouth_width * (1 + 0.25 * u[12] + 0.3 * u[20] - 0.3 * u[26] * (1 - u[20]) * (1 - u[12]) - 0.1 * u[23])
    gap = 0.32 * u[26] * (1 - 0.4 * u[20]) + 0.1 * u[25] + 0.05 * u[16] + 0.06 * u[20]
    middle = who.mouth_y - 0.04 * u[9] - 0.02 * u[25] + 0.015 * u[12] - 0.15 * gap
    corner = who.mouth_y + who.mouth_curve - 0.11 * u[12] + 0.11 * u[15] + 0.04 * u[20] + 0.4 * gap * (1 - u[12])
    x = reach * _ARC
    arch, hang = _BOW ** (0.8 - 0.3 * u[26]), _BOW ** (0.7 - 0.3 * u[20])  # a stretched mouth is square
    above = corner + (middle - corner) * arch
    below = corner + (middle + gap - corner) * hang
    thin = 1 - 0.65 * u[23] - 0.2 * u[12] - 0.25 * u[20]
    dip = 1 - 0.35 * np.exp(-((_ARC / 0.2) ** 2))  # the bow of the upper lip
    upper = above - who.upper_lip * thin * hang * dip
    lower = below + who.lower_lip * (thin + 0.3 * u[16]) * arch
    tone = who.lip_tone * who.skin
    p.fill(_band(x, upper, lower), tone)
    p.line(np.stack([0.5 * x, 0.5 * (below + lower)], 1), 1.18 * tone, 0.02)
    dark = 0.22 * who.skin
    if gap < 0.02:
        p.line(np.stack([x, above], 1), 0.5 * tone, 0.022)
        return
    p.fill(_band(x, above, below), dark)
    teeth = slice(2, -2)
    edge = np.minimum(above + 0.085 * (1 - 0.5 * u[26]), below)
    p.fill(_band(x[teeth], above[teeth], edge[teeth]), 100 + 0.55 * who.skin)
    p.line(np.stack([x, above], 1), 0.45 * tone, 0.018)


def _hair(p: Painter, who: Identity) -> None:
    if who.hair_length > 0.15:
        fringe = who.hairline + 0.3 * np.abs(_ARC) ** 3 + 0.1 * who.parting * _ARC
        top = -0.3 - 0.84 * np.sqrt(_BOW)
        x = (who.face_width + 0.12) * _ARC
        p.fill(_band(x, fringe, top), _RIM * who.hair, turned=False)


def _glasses(p: Painter, who: Identity) -> None:
    for lens in _both(_ellipse(who.eye_x, who.eye_y + 0.02, who.eye_width + 0.07, 0.16)):
        p.line(np.concatenate([lens, lens[:1]]), 35, 0.03)
    p.line(_path((-0.12, who.eye_y), (0.12, who.eye_y)), 35, 0.03)


def _occluder(p: Painter, rng: np.random.Generator) -> None:
    """A bar of one tone across a random place: a hand, a scarf, a strand of hair."""
    angle, tone, half = rng.uniform(0, np.pi), rng.uniform(10, 230), rng.uniform(0.06, 0.17)
    middle = rng.uniform(-0.7, 0.7, 2)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    start, end = middle - rng.uniform(0.2, 1) * along, middle + rng.uniform(0.2, 1) * along
    corners = [start - half * across, end - half * across, end + half * across, start + half * across]
    p.fill(np.stack(corners), tone, turned=False)


def _photograph(image: np.ndarray, scene: Scene, size: int, rng: np.random.Generator) -> np.ndarray:
    """Light, contrast, blur and noise; uint8 height×width in and out."""
    height, width = image.shape
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    light = 1 + scene.light * (np.cos(scene.light_angle) * x + np.sin(scene.light_angle) * y[:, None])
    photo = (image * light - 128) * np.float32(scene.contrast) + np.float32(128 + scene.brightness)
    sigma = scene.blur * size / 48
    if sigma > 0.2:
        photo = cv2.GaussianBlur(photo, (0, 0), sigma)
    photo += scene.noise * rng.standard_normal(photo.shape, dtype=np.float32)
    return np.clip(photo, 0, 255).astype(np.uint8)
