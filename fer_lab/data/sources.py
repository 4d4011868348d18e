"""The embedded source: synthetic faces, on any machine, without a download."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_lab.data import synthetic
from fer_lab.data.source import Face, Source
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS


@dataclass(kw_only=True)
class SyntheticSource(Source):
    """Procedural faces (`fer_lab.data.synthetic`) of subjects, so that a split leaves no identity on two sides.

    Attributes:
        samples: number of faces; source_seed: seed of the faces themselves.
    """

    name = "synthetic"
    licence = "generated, public domain"

    samples: int
    source_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source_seed < 0:
            raise FerLabError(f"data.source_seed={self.source_seed} must not be negative.")
        if self.samples < 200:
            raise FerLabError(
                f"data.samples={self.samples} is too few for seven classes in three splits; use at least 200."
            )

    def settings(self) -> dict[str, Any]:
        # the drawing code is the content: editing it gives new faces
        code = b"".join(path.read_bytes() for path in sorted(Path(synthetic.__file__).parent.glob("synthetic*.py")))
        return {**super().settings(), "drawn_by": hashlib.sha256(code).hexdigest()[:16]}

    def expected(self) -> int:
        return self.samples

    def read(self) -> Iterator[Face]:
        faces = synthetic.generate_faces(self.samples, self.source_seed, self.size)
        for i in range(self.samples):
            yield Face(
                sample_id=f"synthetic-{self.source_seed}-{i:06d}",
                image=faces.images[i],
                emotion=EMOTIONS[faces.labels[i]],
                split="",
                where=f"synthetic face {i}",
                columns={"subject": f"synthetic-{self.source_seed}-{faces.subjects[i]:06d}"},
            )
