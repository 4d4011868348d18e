"""`audit` finds what is planted, and on the real FER2013 the figures the field knows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lab.audit import audit
from fer_lab.labels import EMOTIONS
from fer_lab.schema import compose

SHARED = Path(__file__).parents[2] / "shared" / "data" / "fer2013"


def test_planted_problems_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = [rng.integers(0, 256, 2304) for _ in range(21)]
    rows = [[k % 7, face, ("Training", "PublicTest", "PrivateTest")[k // 7]] for k, face in enumerate(faces)]
    rows += [
        [0, faces[0], "Training"],  # a copy within train
        [3, faces[1], "PublicTest"],  # a copy of a training face, with another label
        [2, faces[9], "PrivateTest"],  # a copy that does not touch train
        [3, np.full(2304, 7), "Training"],  # constant
        [3, faces[2][:-1], "Training"],  # a pixel short
    ]
    table = pd.DataFrame(rows, columns=["emotion", "pixels", "Usage"])
    table["pixels"] = [" ".join(map(str, face)) for face in table["pixels"]]
    table.to_csv(tmp_path / "fer2013.csv", index=False)
    found = audit(compose("audit", ["data=fer2013", f"data.path={tmp_path}", f"paths.outputs={tmp_path}"]))
    assert (found["duplicate_groups"], found["duplicate_rows"], found["conflicting_groups"]) == (3, 6, 1)
    assert found["copies_in_train"] == {"validation": 1, "test": 0}
    assert found["constant"] == ["Training-00024"]
    assert len(found["unreadable"]) == 1
    assert "line 27: 2303 pixels" in found["unreadable"][0]
    assert found["counts"]["train"] == {**dict.fromkeys(EMOTIONS, 1), "angry": 2, "happy": 2}
    folder = tmp_path / "audits" / "fer2013"
    assert json.loads((folder / "audit.json").read_text()) == found
    assert "3 with 6 rows" in (folder / "audit.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/fer2013 is absent")
def test_the_known_figures_of_fer2013(tmp_path: Path) -> None:
    found = audit(compose("audit", ["data=fer2013", f"data.path={SHARED}", f"paths.outputs={tmp_path}"]))
    assert (found["duplicate_groups"], found["duplicate_rows"], found["conflicting_groups"]) == (1516, 3366, 57)
    assert found["copies_in_train"] == {"validation": 280, "test": 288}
    assert len(found["constant"]) == 12
