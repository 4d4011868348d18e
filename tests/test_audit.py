"""`audit` finds what is planted, and on the real FER2013 the figures the field knows."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_lab.audit import audit
from fer_lab.data.splits import read_ids
from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS
from fer_lab.schema import compose

SHARED = Path(__file__).parents[2] / "shared" / "data" / "fer2013"
PUBLISHED = Path(__file__).parents[1] / "experiments" / "fer2013_audit"


def _csv(folder: Path, rows: list[list]) -> Path:
    table = pd.DataFrame(rows, columns=["emotion", "pixels", "Usage"])
    table["pixels"] = [" ".join(map(str, face)) for face in table["pixels"]]
    table.to_csv(folder / "fer2013.csv", index=False)
    return folder / "fer2013.csv"


def _audit(path: Path, outputs: Path, *overrides: str) -> dict:
    words = [f"data.path={path}", f"paths.outputs={outputs}", f"paths.experiments={outputs / 'experiments'}"]
    return audit(compose("audit", ["data=fer2013", *words, *overrides]))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """21 random faces, and a copy within train, one that conflicts across splits, one outside train, a near-duplicate
    across splits, a constant face, a dark one and a row that lacks a pixel."""
    rng = np.random.default_rng(0)
    faces = [rng.integers(60, 200, 2304) for _ in range(21)]
    rows = [[k % 7, face, ("Training", "PublicTest", "PrivateTest")[k // 7]] for k, face in enumerate(faces)]
    rows += [
        [0, faces[0], "Training"],
        [3, faces[1], "PublicTest"],
        [2, faces[9], "PrivateTest"],
        [4, faces[4] + 2, "PrivateTest"],
        [3, np.full(2304, 7), "Training"],
        [5, faces[5] // 8, "Training"],
        [3, faces[2][:-1], "Training"],
    ]
    return _csv(tmp_path, rows)


def test_planted_problems_are_counted(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = _audit(planted, tmp_path, "publish=fer2013_audit")
    assert (found["duplicate_groups"], found["duplicate_rows"], found["conflicting_groups"]) == (3, 6, 1)
    assert found["copies_in_train"] == {"validation": 1, "test": 0}
    assert found["across"] == {"train": 1, "train + validation": 1, "validation + test": 1}
    near = found["near"]
    assert (near["duplicate_groups"], near["duplicate_rows"], near["largest"]) == (5, 10, 2)
    assert near["copies_in_train"] == {"validation": 1, "test": 1}
    assert near["not_identical_groups"] == 2
    assert found["conflicts"] == [
        [
            {"sample_id": "Training-00001", "split": "train", "emotion": "disgust"},
            {"sample_id": "PublicTest-00022", "split": "validation", "emotion": "happy"},
        ]
    ]
    assert found["constant"] == ["Training-00025"]
    assert found["brightness"]["all"]["dark"] == pytest.approx(2 / 27, abs=1e-5)
    assert found["unreadable"]["count"] == 1
    assert "line 29: 2303 pixels" in found["unreadable"]["sentences"][0]
    assert found["counts"]["train"] == {**dict.fromkeys(EMOTIONS, 1), "angry": 2, "happy": 2, "surprise": 2}
    folder = tmp_path / "audits" / "fer2013"
    assert json.loads((folder / "audit.json").read_text()) == found
    copies = pd.read_csv(folder / "duplicates.csv")
    assert len(copies) == 10
    assert copies["near"].nunique() == 5
    published = tmp_path / "experiments" / "fer2013_audit"
    written = [
        *(folder / f"audit.{kind}" for kind in ("html", "md", "json")),
        folder / "unreadable.txt",
        published / "audit.md",
        published / "audit.json",
    ]
    assert capsys.readouterr().out.split("Written:\n")[1].splitlines() == list(map(str, written))
    for name in ("audit.json", "audit.md"):
        assert (published / name).read_bytes() == (folder / name).read_bytes()
        assert str(tmp_path) not in (published / name).read_text()
    assert "| test rows with a copy in train | 0 | 1 |" in (published / "audit.md").read_text()
    assert sorted(path.name for path in published.iterdir()) == ["audit.json", "audit.md"]


def test_every_broken_file_is_named_and_a_cut_list_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    rows = [[k % 7, rng.integers(0, 256, 2304), ("Training", "PublicTest", "PrivateTest")[k // 7]] for k in range(21)]
    broken = [[3, np.zeros(5, int), "Training"] for _ in range(25)]
    found = _audit(_csv(tmp_path, rows + broken), tmp_path)
    assert (found["unreadable"]["count"], len(found["unreadable"]["sentences"])) == (25, 20)
    folder = tmp_path / "audits" / "fer2013"
    named = (folder / "unreadable.txt").read_text().splitlines()
    assert len(named) == 25
    assert "line 47: 5 pixels" in named[-1]
    shown = "".join(capsys.readouterr().out.split("Written:")[0].splitlines())
    assert "25, all in unreadable.txt, the first 20 of 25 in the report" in shown
    assert "The first 20 of 25:\n\n- " in (folder / "audit.md").read_text()
    assert (
        "25 in all, here the first 20; every one in <code>unreadable.txt</code>" in (folder / "audit.html").read_text()
    )
    _audit(_csv(tmp_path, rows), tmp_path)
    assert not (folder / "unreadable.txt").exists(), "those of an earlier audit are gone"


def test_photographs_are_shown_only_on_request(planted: Path, tmp_path: Path) -> None:
    page = tmp_path / "audits" / "fer2013" / "audit.html"
    _audit(planted, tmp_path)
    assert "<img" not in page.read_text()
    assert "FER2013: research use" in page.read_text()
    _audit(planted, tmp_path, "thumbnails=true")
    assert (
        len(set(re.findall(r'src="(data:image/png;base64,[^"]+)"', page.read_text()))) == 4
    )  # one conflict, two near, one blank
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page.read_text())  # self-contained


def test_a_label_column_in_alphabetical_order_is_suspected(tmp_path: Path) -> None:
    alphabetical = sorted(EMOTIONS)
    counts = {"angry": 491, "disgust": 55, "fear": 528, "happy": 879, "sad": 594, "surprise": 416, "neutral": 626}
    rng = np.random.default_rng(0)
    small = [[i, rng.integers(0, 256, 2304), usage] for i in range(7) for usage in ("Training", "PublicTest")]
    test = [[alphabetical.index(name), [0] * 2304, "PrivateTest"] for name, n in counts.items() for _ in range(n)]
    found = _audit(_csv(tmp_path, small + test), tmp_path)["class_order"]
    assert found["suspected"] is not None
    assert found["suspected"]["surprise"] == "sad"
    assert "alphabetical" in found["sentence"]


def test_publish_must_name_the_source_s_own_folder(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(FerLabError, match="belongs in fer2013_audit"):
        _audit(planted, tmp_path, "publish=paper_a")


def test_drawn_faces_are_audited_with_their_label_noise(tmp_path: Path, cache_dir: Path) -> None:
    words = ["data.samples=300", "backbone=tiny", "input_size=48", "label_noise=true"]
    places = [f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}"]
    found = audit(compose("audit", [*words, *places]))
    noise = found["label_noise"]
    ranking = pd.read_csv(tmp_path / "audits" / "synthetic" / "label_noise.csv")
    assert len(ranking) == noise["faces"] == sum(found["counts"]["train"].values())
    assert ranking["quality"].is_monotonic_increasing
    excluded = (tmp_path / "audits" / "synthetic" / "label_noise_exclude.txt").read_text().split()
    assert excluded == ranking.loc[ranking["flagged"], "sample_id"].tolist()
    assert len(excluded) == noise["issues"]
    assert noise["raters"] is None
    assert "## Likely mislabelled" in (tmp_path / "audits" / "synthetic" / "audit.md").read_text()
    for name in ("label_noise.csv", "label_noise_exclude.txt"):  # both can be given as data.exclude
        listed = read_ids(tmp_path / "audits" / "synthetic" / name, ranking["sample_id"])
        assert listed.sum() == (len(ranking) if name.endswith("csv") else len(excluded))


def test_preview_is_a_picture_and_no_audit(tmp_path: Path, cache_dir: Path) -> None:
    words = ["data.samples=300", f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}", "augment=gentle"]
    assert Path(audit(compose("audit", [*words, "preview=true"]))["preview"]).is_file()
    assert not (tmp_path / "audits" / "synthetic" / "audit.json").exists()


def test_label_noise_of_k_fold_runs(tmp_path: Path, cache_dir: Path) -> None:
    """Every training face gets the probabilities of the run whose validation split held it."""
    base = ["data.samples=300", f"paths.outputs={tmp_path}", f"paths.cache={cache_dir}", "label_noise=true"]
    with pytest.raises(FerLabError, match="train each fold"):
        audit(compose("audit", [*base, f"run={tmp_path}"]))
    from fer_lab.data.dataset import build_data

    train = build_data(compose("audit", base)).split("train")
    ids, labels = np.asarray(train.ids, dtype=object), train.labels.copy()
    wrong = ids[7]
    for fold in range(2):
        inside = np.arange(len(ids)) % 2 == fold
        answer = np.where(ids == wrong, (labels + 1) % 7, labels)[inside]
        logits = 3.0 * np.eye(7)[answer]
        table = pd.DataFrame(logits, columns=[f"logit_{name}" for name in EMOTIONS]).assign(sample_id=ids[inside])
        (tmp_path / f"fold{fold}").mkdir()
        table.to_parquet(tmp_path / f"fold{fold}" / "validation_predictions.parquet")
    found = audit(compose("audit", [*base, f"run={tmp_path}"]))
    assert found["label_noise"]["probabilities"] == "2 k-fold runs"
    ranking = pd.read_csv(tmp_path / "audits" / "synthetic" / "label_noise.csv")
    assert ranking["sample_id"][0] == wrong
    (tmp_path / "other").mkdir()
    table.drop(columns="logit_fear").to_parquet(tmp_path / "other" / "validation_predictions.parquet")
    with pytest.raises(FerLabError, match="other has other classes than angry"):
        audit(compose("audit", [*base, f"run={tmp_path}"]))


def test_the_published_audit_has_the_known_figures() -> None:
    found = json.loads((PUBLISHED / "audit.json").read_text())
    _check_fer2013(found)
    assert found["label_noise"]["raters"]["top"]["500"]["share"] > 1.5 * found["label_noise"]["raters"]["base"]
    assert "1,516 with 3,366 rows" in (PUBLISHED / "audit.md").read_text()
    text = (PUBLISHED / "audit.json").read_text() + (PUBLISHED / "audit.md").read_text()
    assert not re.search(r"/work|/home|/tmp|base64", text)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/fer2013 is absent")
def test_the_known_figures_of_fer2013(tmp_path: Path) -> None:
    found = _audit(SHARED, tmp_path)
    _check_fer2013(found)
    published = json.loads((PUBLISHED / "audit.json").read_text())
    published.pop("label_noise")
    assert found == published


def _check_fer2013(found: dict) -> None:
    assert (found["duplicate_groups"], found["duplicate_rows"], found["conflicting_groups"]) == (1516, 3366, 57)
    assert found["copies_in_train"] == {"validation": 280, "test": 288}
    assert len(found["constant"]) == 12
    assert len(found["nearly_constant"]) == 1
    assert len(found["conflicts"]) == 57
    assert (found["near"]["duplicate_groups"], found["near"]["duplicate_rows"]) == (2041, 4963)
    assert (found["class_order"]["data"], found["class_order"]["suspected"]) == ("FER2013", None)
    assert "redistributed" in found["licence"]
