"""Splits, takes, lists and duplicates: what stands on which side, and what is left out, by the rules as stated."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.data.selection import SPLITS, Selection
from fer_lab.data.splits import merged_groups
from fer_lab.errors import FerLabError

CLASSES = ("angry", "happy", "sad")
pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")


def no_near() -> np.ndarray:
    raise AssertionError("near-duplicates were looked for")


def table_of(seed: int = 0, faces: int = 600, split: str | None = None, **columns) -> pd.DataFrame:
    """Faces of three classes, a third of them in groups of up to four, 150 subjects of which some are unknown."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2**64, faces, np.uint64)
    group[: faces // 3] = group[rng.integers(0, faces // 8, faces // 3)]
    subjects = np.array([*(f"s{i}" for i in range(149)), ""], object)
    return pd.DataFrame(
        {
            "sample_id": [f"f{i}" for i in range(faces)],
            "label": rng.choice(3, faces, p=[0.5, 0.3, 0.2]),
            "group": group,
            "split": rng.choice(SPLITS, faces, p=[0.6, 0.2, 0.2]) if split is None else split,
            "subject": subjects[rng.integers(0, 150, faces)],
            **columns,
        }
    )


def arranged(table: pd.DataFrame, **options) -> pd.DataFrame:
    return Selection(**options).arrange(table, CLASSES, no_near)[0]


def ids(table: pd.DataFrame, split: str) -> set[str]:
    return set(table["sample_id"][table["split"] == split])


def test_the_own_split_stays_and_what_it_divides_is_counted() -> None:
    table = table_of()
    used, done = Selection().arrange(table, CLASSES, no_near)
    assert used["split"].tolist() == table["split"].tolist()
    assert done["method"] == "official"
    assert done["left_out"] == {"split_file": 0, "take": 0, "exclude": 0, "dedup": 0}
    for name in ("group", "subject"):
        known = table[table[name] != ""]
        assert done["divided_groups"][name] == (known.groupby(name)["split"].nunique() > 1).sum() > 0


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_a_new_split_divides_neither_copies_nor_subjects_and_keeps_shares(seed: int) -> None:
    table = table_of(seed, split="")
    used, done = Selection(group_by=["group", "subject"], split_seed=seed % 5).arrange(table, CLASSES, no_near)
    assert len(used) == len(table)
    assert done["method"] == "70/15/15"
    assert done["divided_groups"] == {"group": 0, "subject": 0}
    assert used.groupby("group")["split"].nunique().max() == 1
    assert used[used["subject"] != ""].groupby("subject")["split"].nunique().max() == 1


def test_shares_of_a_new_split_and_its_seed() -> None:
    table = table_of(faces=3000)
    options = {"fractions": [0.6, 0.3, 0.1], "group_by": ["group"]}
    used = arranged(table, **options)
    for split, share in zip(SPLITS, (0.6, 0.3, 0.1), strict=True):
        assert len(ids(used, split)) / 3000 == pytest.approx(share, abs=0.01)
    assert (
        ids(arranged(table, **options), "test")
        == ids(used, "test")
        != ids(arranged(table, **options, split_seed=1), "test")
    )


def test_faces_without_a_split_beside_faces_with_one() -> None:
    table = table_of(faces=900, split="")
    table.loc[:299, "split"] = "test"
    used, done = Selection(group_by=[]).arrange(table, CLASSES, no_near)
    assert (used["split"][:300] == "test").all()
    assert 400 < (used["split"][300:] == "train").sum() < 440
    assert done["method"] == "official, 70/15/15 where there is none"


def test_a_face_without_a_split_goes_where_its_copies_near_duplicates_and_subject_are() -> None:
    table = table_of().assign(subject="")
    new = np.arange(len(table)) % 3 == 0
    table["split"] = table["split"].where(~new, "")
    one = np.flatnonzero(table["split"] == "test")[:2]
    table.loc[[0, 3], "group"] = table["group"][one].to_numpy()
    table.loc[[6, one[1]], "subject"] = "s"
    near = np.arange(len(table))
    near[9] = one[0]
    used = Selection().arrange(table, CLASSES, lambda: near)[0]
    assert used.loc[[0, 3, 6, 9], "split"].tolist() == ["test"] * 4
    assert used["split"][~new].tolist() == table["split"][~new].tolist()
    held_out = used[~new & (used["split"] != "train")]
    gained = used[new & (used["split"] == "train")]
    assert len(gained) > 50
    assert not set(gained["group"]) & set(held_out["group"])


def test_near_duplicates_are_looked_for_only_where_a_split_is_made() -> None:
    table = table_of(faces=800, split="")
    near = np.arange(800) // 2  # pairs
    used, _ = Selection(group_by=["near"]).arrange(table, CLASSES, lambda: near)
    assert used.groupby(near)["split"].nunique().max() == 1
    with pytest.raises(AssertionError, match="looked for"):
        arranged(table)
    arranged(table_of())
    arranged(table_of(), take=0.5, dedup="train")


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(3, 7))
def test_folds_test_every_face_once_and_validate_it_once(seed: int, folds: int) -> None:
    table = table_of(seed)
    parts = [arranged(table, folds=folds, fold=k, group_by=["group"]) for k in range(folds)]
    for split in ("validation", "test"):
        found = [ids(part, split) for part in parts]
        assert sum(map(len, found)) == len(set.union(*found)) == len(table)
    for k, part in enumerate(parts):
        assert ids(part, "validation") == ids(parts[(k + 1) % folds], "test")
        assert part.groupby("group")["split"].nunique().max() == 1


def test_merged_groups_by_hand() -> None:
    a = pd.Series(["x", "x", "y", "", None, "z", ""])
    b = pd.Series([1.0, 2.0, 2.0, 3.0, 4.0, float("nan"), float("nan")])
    assert merged_groups([a]).tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert merged_groups([a, b]).tolist() == [0, 0, 0, 1, 2, 3, 4]  # y joins x by 2.0; what is missing joins nobody


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from([0.4, 0.5, 0.9]))
def test_takes_are_nested_and_take_all_copies_or_none(seed: int, a: float, b: float) -> None:
    table = table_of(seed)
    small, large = (arranged(table, take=take, take_held_out=take) for take in sorted((a, b)))
    for split in SPLITS:
        assert ids(small, split) <= ids(large, split)
        members = table[(table["split"] == split) & table["group"].isin(large["group"][large["split"] == split])]
        assert set(members["sample_id"]) == ids(large, split)


def test_a_take_that_empties_a_class() -> None:
    table = table_of()
    table.loc[table["label"] == 2, "group"] |= np.uint64(2**63)
    with pytest.raises(FerLabError, match=r"leaves none of the \d+ training faces of class 'sad'; take a larger"):
        arranged(table, take=0.5)


@pytest.fixture
def copies() -> pd.DataFrame:
    """By hand: a stands in all splits, b twice in training, c twice with two labels, d in validation and test."""
    rows = [
        ("a1", 0, 1, "train"), ("a2", 0, 1, "test"), ("a3", 1, 1, "validation"), ("b1", 1, 2, "train"),
        ("b2", 1, 2, "train"), ("c1", 0, 3, "train"), ("c2", 2, 3, "train"), ("d1", 2, 4, "validation"),
        ("d2", 2, 4, "test"), ("e1", 2, 5, "train"), ("f1", 0, 6, "test"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["sample_id", "label", "group", "split"])
    return table.astype({"group": np.uint64})


def test_dedup_by_hand(copies: pd.DataFrame) -> None:
    none, train, clean = (arranged(copies, dedup=dedup) for dedup in ("none", "train", "clean_test"))
    assert len(none) == len(copies)
    assert none["sample_id"][none["copy_in_train"]].tolist() == ["a2", "a3"]
    assert ids(train, "train") == {"b1", "e1"}
    assert all(ids(train, split) == ids(none, split) for split in ("validation", "test"))
    assert train["sample_id"][train["copy_in_train"]].tolist() == ["a2", "a3"], "the clean test stays the same faces"
    assert ids(clean, "train") == ids(none, "train")
    assert (ids(clean, "validation"), ids(clean, "test")) == ({"d1"}, {"d2", "f1"})


def test_near_duplicates_count_as_copies_on_request(copies: pd.DataFrame) -> None:
    """f is nearly a (train, test, validation), e nearly b (both in training, with other labels), d nearly nothing."""
    calls, near = [], copies["group"].replace({6: 1, 5: 2}).to_numpy(np.int64)

    def found() -> np.ndarray:
        calls.append(1)
        return near

    def of(**options) -> pd.DataFrame:
        return Selection(copies="near", **options).arrange(copies, CLASSES, found)[0]

    none, train, clean = (of(dedup=dedup) for dedup in ("none", "train", "clean_test"))
    assert len(calls) == 3
    assert none["sample_id"][none["copy_in_train"]].tolist() == ["a2", "a3", "f1"]
    assert ids(train, "train") == set(), "e1 contradicts b1 and b2"
    assert (ids(clean, "validation"), ids(clean, "test")) == ({"d1"}, {"d2"})
    assert ids(clean, "train") == ids(none, "train")
    with pytest.raises(AssertionError, match="looked for"):
        arranged(copies, copies="near")


def test_keys_of_runs_made_before_near_copies_stay() -> None:
    assert "copies" not in Selection().selection_key()
    assert Selection(copies="near").selection_key() != Selection().selection_key()


@pytest.mark.parametrize("form", ["txt", "csv", "parquet"])
def test_exclude_leaves_training_alone_and_only_training(form: str, copies: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / f"list.{form}"
    listed = pd.DataFrame({"sample_id": ["c2", "f1"], "why": "doubtful"})
    if form == "txt":
        path.write_text("c2\n\nf1\n")
    else:
        listed.to_csv(path, index=False) if form == "csv" else listed.to_parquet(path)
    with pytest.warns(UserWarning, match="1 listed faces are in validation or test and stay there"):
        used = arranged(copies, exclude=str(path))
    assert set(copies["sample_id"]) - set(used["sample_id"]) == {"c2"}
    with pytest.warns(UserWarning, match="stay there"):
        used = arranged(copies, exclude=str(path), dedup="train")
    assert ids(used, "train") == {"b1", "c1", "e1"}, "without its rival, c1 contradicts nobody"


def test_a_split_comes_back_from_its_file(tmp_path: Path) -> None:
    table = table_of()
    first = arranged(table, fractions=[0.5, 0.25, 0.25], group_by=["group"], take=0.5)
    first[["sample_id", "split"]].to_parquet(tmp_path / "split.parquet", index=False)
    first[["sample_id", "split"]].to_csv(tmp_path / "split.csv", index=False)
    for name in ("split.parquet", "split.csv"):
        with pytest.warns(UserWarning, match=rf"{len(table) - len(first)} of 600 faces are not listed"):
            again, done = Selection(split_file=str(tmp_path / name)).arrange(table, CLASSES, no_near)
        assert all(ids(again, split) == ids(first, split) for split in SPLITS)
        assert done["left_out"]["split_file"] == len(table) - len(first)
        assert done["method"] == "file"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("sample_id,split\nf1,train\nnobody,test\n", "1 listed samples are not among the source's faces, 'nobody'"),
        ("sample_id,split\nf1,train\nf2,dev\n", "the split 'dev' is unknown"),
        ("sample_id,split\nf1,train\nf1,test\n", "'f1' is listed twice"),
        ("id,split\nf1,train\n", "column 'sample_id' is missing"),
        ("", "is not readable as .csv"),
    ],
)
def test_bad_split_files(rows: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text(rows)
    with pytest.raises(FerLabError, match=sentence):
        arranged(table_of(), split_file=str(tmp_path / "split.csv"))


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(FerLabError, match="is no readable text"):
        arranged(table_of(), exclude=str(tmp_path / "list.txt"))


def test_an_unknown_sample_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("f1\nnobody\n")
    with pytest.raises(FerLabError, match="'nobody' first; the file belongs to another source"):
        arranged(table_of(), exclude=str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fractions": [0.8, 0.2]}, "must be three shares"),
        ({"fractions": ["a", "b", "c"]}, "must be three shares"),
        ({"fractions": 0.7}, "must be three shares"),
        ({"fractions": [float("nan"), 0.5, 0.5]}, "must be three shares"),
        ({"folds": "many"}, "data.folds=many must be a whole number"),
        ({"folds": 3.5}, "data.folds=3.5 must be a whole number"),
        ({"take": "all"}, "data.take=all must be a number"),
        ({"split_seed": -1}, "data.split_seed=-1 must not be negative"),
        ({"exclude": 5}, "data.exclude=5 does not exist"),
        ({"folds": 2}, "must be at least 3"),
        ({"folds": 5, "fold": 5}, "must be 0 to 4"),
        ({"fold": 1}, "must be 0 without data.folds"),
        ({"folds": 5, "fractions": [0.7, 0.15, 0.15]}, "data.folds and data.fractions both make a split"),
        ({"take": 0}, "data.take=0 must be above 0"),
        ({"take_held_out": 1.5}, "data.take_held_out=1.5"),
        ({"dedup": "test"}, "use none, train or clean_test"),
        ({"copies": "exact"}, "data.copies=exact is unknown; use group or near"),
        ({"on_corrupt": "ignore"}, "use stop or skip"),
        ({"exclude": "nowhere.txt"}, "data.exclude=nowhere.txt does not exist"),
        ({"split_file": "nowhere.csv"}, "data.split_file=nowhere.csv does not exist"),
    ],
)
def test_impossible_options(options: dict, sentence: str) -> None:
    with pytest.raises(FerLabError, match=sentence):
        Selection(**options)


def test_a_column_to_group_by_that_is_not_there() -> None:
    with pytest.raises(FerLabError, match="names 'video'"):
        arranged(table_of(split=""), group_by=["group", "video"])
    used = arranged(table_of(split="", video=np.arange(600) // 3), group_by=["video"])
    assert used.groupby("video")["split"].nunique().max() == 1


def test_listed_files_count_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("f1\n")
    (tmp_path / "b.txt").write_text("f1\n")
    a, b = (Selection(exclude=str(tmp_path / f"{name}.txt")) for name in "ab")
    assert a.selection_key() == b.selection_key() != Selection().selection_key()
    (tmp_path / "b.txt").write_text("f2\n")
    assert a.selection_key() != b.selection_key()
