"""Drawn faces written as the files people have, for the tests of the sources."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fer_lab.data.synthetic import random_units, render_face
from fer_lab.data.synthetic_traits import Identity, Scene, draw_traits
from fer_lab.labels import EMOTIONS


def drawn_faces(each: int = 30, seed: int = 0) -> list[np.ndarray]:
    """`each` faces of every emotion, in turn: the i-th shows EMOTIONS[i % 7]. uint8 48×48."""
    rng = np.random.default_rng(seed)
    return [
        render_face(draw_traits(Identity, rng), random_units(emotion, rng), draw_traits(Scene, rng), rng)
        for emotion in EMOTIONS * each
    ]


def write_tree(root: Path, faces: Sequence[np.ndarray], names: Sequence[str] = EMOTIONS) -> Path:
    """A folder a class, PNG and JPEG in turn; three in a row are one subject's, whom the file's name begins with."""
    for i, face in enumerate(faces):
        folder = root / names[i % 7]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(folder / f"S{i // 3:03d}_{i:04d}.{'png' if i % 2 else 'jpg'}")
    return root


def usage_of(i: int) -> str:
    """Of seven times seven faces in a row, one seven is PublicTest and one PrivateTest: all classes are everywhere."""
    return {5: "PublicTest", 6: "PrivateTest"}.get(i // 7 % 7, "Training")


def write_fer2013_csv(path: Path, faces: Sequence[np.ndarray]) -> Path:
    """FER2013's csv with an official split."""
    rows = [f"{i % 7},{' '.join(map(str, face.ravel()))},{usage_of(i)}" for i, face in enumerate(faces)]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    return path


def write_fer2013new_csv(path: Path, votes: np.ndarray) -> Path:
    """FER+'s csv as Microsoft publishes it, votes int N×10."""
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = [f"{usage_of(i)},fer{i:07d}.png,{','.join(map(str, row))}" for i, row in enumerate(votes.tolist())]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path
