"""FER+ labels by the published rule, on votes worked by hand and against the published algorithm itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lab.data.audit import findings, read_facts
from fer_lab.data.ferplus import RATED, FerPlusSource, label_of
from fer_lab.data.source import Face
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import EMOTIONS, VOCABULARY, to_emotion
from tests.data.drawn import drawn_faces, usage_of, write_fer2013_csv, write_fer2013new_csv

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "fer2013" / "fer2013.parquet"


def votes(**counts: int) -> np.ndarray:
    return np.array([counts.get(name, 0) for name in RATED])


@pytest.mark.parametrize(
    ("counted", "majority", "plurality"),
    [
        (votes(happiness=6, neutral=4), "happy", "happy"),
        (votes(happiness=5, neutral=5), "disputed", "disputed"),
        (votes(happiness=4, neutral=3, sadness=3), "disputed", "happy"),
        (votes(anger=5, unknown=3, NF=2), "disputed", "angry"),
        (votes(contempt=6, NF=4), "contempt", "contempt"),
        (votes(unknown=5, fear=4), "unknown", "unknown"),
        (votes(unknown=5, fear=5), "unknown", "unknown"),
        (votes(NF=5, fear=5), "not-a-face", "not-a-face"),
        (votes(), "unknown", "unknown"),
    ],
)
def test_labels_worked_by_hand(counted: np.ndarray, majority: str, plurality: str) -> None:
    assert label_of(counted, "majority", True) == majority
    assert label_of(counted, "plurality", True) == plurality


def test_votes_for_no_face_may_be_put_aside() -> None:
    assert label_of(votes(NF=6, fear=4), "majority", True) == "not-a-face"
    assert label_of(votes(NF=6, fear=4), "majority", False) == "fear"
    assert label_of(votes(NF=10), "majority", False) == "unknown"


def published_majority(raw: list[int]) -> str | None:
    """The `majority` mode of FERPlus (Microsoft, src/ferplus.py), written down from it: emotion, or None to drop."""
    cleaned = [0 if count < 1 + 1e-9 else count for count in raw]
    largest = max(cleaned)
    winner = cleaned.index(largest) if largest > 0.5 * sum(cleaned) else 8
    return to_emotion(RATED[winner], "ferplus") if winner < 8 else None


@given(st.lists(st.integers(0, 9), min_size=10, max_size=10))
def test_majority_agrees_with_the_published_algorithm(raters: list[int]) -> None:
    raw = np.bincount(raters, minlength=10)
    label = label_of(np.where(raw > 1, raw, 0), "majority", True)
    assert (label if label in VOCABULARY else None) == published_majority(raw.tolist())


ROWS = [
    votes(anger=9, disgust=1),
    votes(disgust=8, anger=2),
    votes(fear=6, surprise=4),
    votes(happiness=10),
    votes(contempt=7, neutral=3),
    votes(NF=10),
    votes(neutral=5, sadness=5),
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """fer2013.csv and fer2013new.csv of 49 faces, the votes of ROWS in turn."""
    table = np.array(ROWS * 7)
    return (
        write_fer2013_csv(tmp_path / "fer2013.csv", drawn_faces(7)),
        write_fer2013new_csv(tmp_path / "fer2013new.csv", table),
    )


def read(files: tuple[Path, Path], **options) -> tuple[list[Face], list[LeftOut], FerPlusSource]:
    source = FerPlusSource(path=files[0], votes=str(files[1]), **options)
    found = list(source.read())
    left = [face for face in found if not isinstance(face, Face)]
    assert all(isinstance(error, LeftOut) for error in left)
    return [face for face in found if isinstance(face, Face)], left, source  # type: ignore[return-value]


def test_labels_votes_and_agreement_of_the_csv(files: tuple[Path, Path]) -> None:
    faces, left, source = read(files)
    assert source.class_names == VOCABULARY
    assert [face.emotion for face in faces[:5]] == ["angry", "disgust", "fear", "happy", "contempt"]
    assert [error.reason for error in left] == ["not-a-face", "disputed"] * 7
    assert "line 7: left out, the raters' votes (10 NF) make it not-a-face" in str(left[0])
    first, third = faces[0], faces[2]
    assert first.votes is not None
    assert third.votes is not None
    np.testing.assert_allclose(first.votes, np.eye(8)[0])  # a single vote does not count
    np.testing.assert_allclose(third.votes[[2, 5]], [0.6, 0.4])  # fear and surprise in our order
    assert (first.columns["agreement"], first.columns["fer2013_label"]) == (0.9, "angry")
    assert [face.split for face in faces[::5]] == ["train"] * 5 + ["validation", "test"]


def test_single_votes_agreement_and_contempt(files: tuple[Path, Path]) -> None:
    faces, _, _ = read(files, single_votes=True)
    assert faces[0].votes is not None
    np.testing.assert_allclose(faces[0].votes[:2], [0.9, 0.1])
    faces, left, _ = read(files, min_agreement=0.8)
    assert [face.emotion for face in faces[:3]] == ["angry", "disgust", "happy"]
    assert "60% of the raters chose fear" in str(left[0])
    faces, left, source = read(files, contempt=False)
    assert source.class_names == EMOTIONS
    assert {error.reason for error in left} == {"not-a-face", "disputed", "other-class"}
    assert all(face.votes is not None and face.votes.sum() == pytest.approx(1) for face in faces)


def test_votes_of_other_faces_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    lines = files[1].read_text().splitlines()
    for content, sentence in (
        (lines[:-1], r"has votes for 48 faces, .*fer2013.csv has more"),
        ([*lines, lines[1]], r"has votes for 50 faces, .* only 49"),
        ([lines[0], *reversed(lines[1:])], r"line 2: PrivateTest, but the face is in Training"),
        ([lines[0].replace("anger", "rage"), *lines[1:]], "is not fer2013new.csv"),
        ([lines[0], lines[1].replace("9", "0").replace("1", "0"), *lines[2:]], "a row has no votes"),
    ):
        files[1].write_text("\n".join(content) + "\n")
        with pytest.raises(FerLabError, match=sentence):
            list(FerPlusSource(path=files[0], votes=str(files[1])).read())


@pytest.mark.parametrize("votes", [float("nan"), -5.0])
def test_missing_and_negative_votes_of_a_parquet_are_refused(votes: float, tmp_path: Path) -> None:
    rated = {f"ferplus_{name}": [10.0, votes] if name == "neutral" else [0.0, 9.0] for name in RATED}
    images = {"image": [{"bytes": b""}] * 2, "label": [0, 1], "usage": ["Training"] * 2}
    pq.write_table(pa.table({**images, **rated}), tmp_path / "f.parquet")
    with pytest.raises(FerLabError, match="row 1: votes are missing or negative"):
        list(FerPlusSource(path=tmp_path / "f.parquet").read())


def test_impossible_settings(files: tuple[Path, Path], tmp_path: Path) -> None:
    for options, sentence in (
        ({"labels": "mean"}, "use majority or plurality"),
        ({"min_agreement": 8}, r"data.min_agreement=8 must be a share"),
        ({"votes": "no.csv"}, "data.votes=no.csv does not exist"),
        ({"votes": None}, "holds no votes; give Microsoft's fer2013new.csv"),
    ):
        with pytest.raises(FerLabError, match=sentence):
            FerPlusSource(**{"path": files[0], "votes": str(files[1]), **options})
    pq.write_table(pa.table({"image": [{"bytes": b""}], "label": [0], "usage": ["Training"]}), tmp_path / "f.parquet")
    with pytest.raises(FerLabError, match="column 'ferplus_NF' is missing"):
        list(FerPlusSource(path=tmp_path / "f.parquet").read())


def test_the_key_follows_the_votes_not_their_place(files: tuple[Path, Path], tmp_path: Path) -> None:
    key = FerPlusSource(path=files[0], votes=str(files[1])).content_key()
    moved = files[1].rename(tmp_path / "moved.csv")
    assert FerPlusSource(path=files[0], votes=str(moved)).content_key() == key
    moved.write_text(moved.read_text().replace(",6,", ",5,"))
    assert FerPlusSource(path=files[0], votes=str(moved)).content_key() != key


def test_usages_of_the_drawn_rows_are_those_of_the_votes() -> None:
    assert {usage_of(i) for i in range(49)} == {"Training", "PublicTest", "PrivateTest"}


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/fer2013 is absent")
def test_the_real_votes_give_the_published_sizes() -> None:
    rated = pq.read_table(SHARED, columns=[*(f"ferplus_{name}" for name in RATED), "usage"]).to_pandas()
    raw = rated.drop(columns="usage").to_numpy(np.int64)
    labels = np.array([label_of(np.where(row > 1, row, 0), "majority", True) for row in raw])
    kept = np.isin(labels, VOCABULARY)
    sizes = rated["usage"][kept].value_counts()
    assert (sizes["Training"], sizes["PublicTest"], sizes["PrivateTest"]) == (25060, 3199, 3153)
    assert (labels == "not-a-face").sum() == 178


def test_the_audit_counts_what_is_left_out_apart_from_what_is_unreadable(files: tuple[Path, Path]) -> None:
    lines = files[0].read_text().splitlines()
    lines[2] = lines[2].replace(" ", " x", 1)
    files[0].write_text("\n".join(lines) + "\n")
    source = FerPlusSource(path=files[0], votes=str(files[1]), on_corrupt="skip")
    facts, skipped = read_facts(source)
    assert len(facts) == 34
    assert skipped.reasons == {"unreadable": 1, "not-a-face": 7, "disputed": 7}
    assert skipped.in_words() == "1 unreadable, 7 not-a-face, 7 disputed faces skipped"
    found = findings(source, facts, skipped, {})
    assert found["unreadable"]["count"] == 1
    assert "line 3: pixels must be whole numbers" in found["unreadable"]["sentences"][0]
    assert found["left_out"] == {"not-a-face": 7, "disputed": 7}
    assert "MIT" in found["licence"]
