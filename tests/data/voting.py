"""A source for tests: synthetic faces with votes, an own split, and test faces whose pixels stand in training too."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fer_lab.data.source import SPLITS, Face
from fer_lab.data.sources import SyntheticSource


@dataclass(kw_only=True)
class SmilingSource(SyntheticSource):
    """Knows one class."""

    name, class_names = "smiling", ("happy",)

    def read(self) -> Iterator[Face]:
        return (replace(face, emotion="happy") for face in super().read())


@dataclass(kw_only=True)
class VotingSource(SyntheticSource):
    """Of every ten faces seven are for training, one for validation and two for testing; every other of the last of ten
    shows the pixels of the first. Seven of ten raters agree with the label, the others chose the class after it."""

    name = "voting"

    def read(self) -> Iterator[Face]:
        faces = list(super().read())
        for i, face in enumerate(faces):
            image = faces[i - 9].image if i % 20 == 19 else face.image
            votes = np.zeros(7, np.float32)
            label = self.class_names.index(face.emotion)
            votes[label], votes[(label + 1) % 7] = 0.7, 0.3
            side = 0 if i % 10 < 7 else 1 if i % 10 == 7 else 2
            yield replace(face, image=image, votes=votes, split=SPLITS[side])
