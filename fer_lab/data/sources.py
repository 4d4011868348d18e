"""The embedded source: synthetic faces, on any machine, without a download."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer_lab.data import synthetic
from fer_lab.data.source import SPLITS, Face, Source
from fer_lab.data.splits import stratified_fractions
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS


class SyntheticSource(Source):
    """Procedural faces (`fer_lab.data.synthetic`), split by subject so that no identity stands on two sides.

    Args:
        samples: number of faces.
        source_seed: seed of the faces themselves.
        fractions: shares of training, validation and test; they add up to 1.
        split_seed: seed of the split.
    """

    name = "synthetic"
    licence = "generated, public domain"

    def __init__(self, samples: int, source_seed: int, fractions: Sequence[float], split_seed: int) -> None:
        if samples < 200:
            raise FerLabError(f"data.samples={samples} is too few for seven classes in three splits; use at least 200.")
        self.samples, self.source_seed = samples, source_seed
        self.fractions, self.split_seed = tuple(fractions), split_seed

    def settings(self) -> dict:
        # the drawing code is the content: editing it gives new faces
        code = b"".join(path.read_bytes() for path in sorted(Path(synthetic.__file__).parent.glob("synthetic*.py")))
        drawn_by = hashlib.sha256(code).hexdigest()[:16]
        return {**vars(self), "drawn_by": drawn_by}

    def expected(self) -> int:
        return self.samples

    def read(self) -> Iterator[Face]:
        faces = synthetic.generate_faces(self.samples, self.source_seed, self.size)
        splits = stratified_fractions(faces.labels, faces.subjects, self.fractions, self.split_seed)
        for i in range(self.samples):
            yield Face(
                sample_id=f"synthetic-{self.source_seed}-{i:06d}",
                image=faces.images[i],
                emotion=EMOTIONS[faces.labels[i]],
                split=SPLITS[splits[i]],
                where=f"synthetic face {i}",
            )
