import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_lab.errors import FerLabError
from fer_lab.labels import EMOTIONS, LABEL_MAPS, VOCABULARY, class_order, index_of, names_of, to_emotion


def test_the_csv_is_not_alphabetical() -> None:
    assert to_emotion("3", "fer2013_csv") == "happy"  # alphabetical folders would make index 3 happy too,
    assert to_emotion("4", "fer2013_csv") == "sad"  # but index 4 neutral
    assert to_emotion(" 6 ", "fer2013_csv") == "neutral"


def test_the_same_index_means_another_emotion_in_each_release() -> None:
    meaning = {release: to_emotion("3", release) for release in ("fer2013_csv", "raf_db", "affectnet")}
    assert meaning == {"fer2013_csv": "happy", "raf_db": "disgust", "affectnet": "surprise"}
    assert [to_emotion(i, "raf_db") for i in range(1, 8)] == [
        "surprise", "fear", "disgust", "happy", "sad", "angry", "neutral",
    ]  # fmt: skip
    assert to_emotion("7", "affectnet") == "contempt"
    with pytest.raises(FerLabError, match="Unknown class '0'"):
        to_emotion("0", "raf_db")
    with pytest.raises(FerLabError, match="Unknown class '8'"):
        to_emotion("8", "affectnet")


def test_a_map_of_ones_own_adds_to_the_known_spellings() -> None:
    names = names_of({"Freude": "happy", " sad ": None, "4": "fear"})
    assert (names["freude"], names["sad"], names["4"], names["anger"]) == ("happy", None, "fear", "angry")
    with pytest.raises(FerLabError, match=r"sends 'x' to 'glad'; known: angry, .*contempt, or null"):
        names_of({"x": "glad"})


@pytest.mark.parametrize(
    ("name", "label_map", "emotion"),
    [
        ("Happiness", "ferplus", "happy"),
        ("contempt", "ck_plus", "contempt"),
        ("anger", "any", "angry"),
        ("sad", "kaggle_folders", "sad"),
    ],
)
def test_names_of_the_releases(name: str, label_map: str, emotion: str) -> None:
    assert to_emotion(name, label_map) == emotion


def test_an_unknown_class_lists_the_known_ones_and_the_place() -> None:
    with pytest.raises(FerLabError, match=r"'bored' in photos/x.png.*angry, disgust, fear"):
        to_emotion("bored", "kaggle_folders", "photos/x.png")


def test_a_bare_index_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(FerLabError, match="unnamed index"):
        to_emotion("3", "any")


def test_unknown_map() -> None:
    with pytest.raises(FerLabError, match="known: fer2013_csv"):
        to_emotion("happy", "no_release")


@given(st.permutations(VOCABULARY), st.integers(1, 8))
def test_class_order_does_not_depend_on_the_order_found(names: list[str], n: int) -> None:
    order = class_order(names[:n])
    assert set(order) == set(names[:n])
    assert list(order) == sorted(order, key=VOCABULARY.index)


def test_every_map_leads_into_the_vocabulary() -> None:
    assert {emotion for label_map in LABEL_MAPS.values() for emotion in label_map.values()} == set(VOCABULARY)


def test_index_of() -> None:
    assert index_of("happy", EMOTIONS) == 3
    with pytest.raises(FerLabError, match="'contempt' is not one"):
        index_of("contempt", EMOTIONS)
    with pytest.raises(FerLabError, match="Unknown class 'x'"):
        class_order(["happy", "x"])
