"""Labels read in another release's order are suspected by their counts, and no others."""

import numpy as np
import pytest

from fer_lab.data.class_order import KNOWN, ORDERS, suspect_order
from fer_lab.labels import EMOTIONS

FER2013 = KNOWN["FER2013"]


def _read_as_csv(counts: dict[str, int], order: tuple[str, ...]) -> dict[str, int]:
    """Counts as they come out where indices follow `order`, but are read as those of the csv."""
    return {read: counts[meant] for read, meant in zip(EMOTIONS, order, strict=True)}


def test_published_counts_add_up_to_the_published_totals() -> None:
    assert [sum(part.values()) for part in FER2013.values()] == [28709, 3589, 3589]
    assert [sum(part.values()) for part in KNOWN["RAF-DB"].values()] == [12271, 3068]
    assert sum(KNOWN["AffectNet"]["train"].values()) == 283901


@pytest.mark.parametrize("data", KNOWN)
def test_the_data_sets_themselves_are_recognised_and_not_suspected(data: str) -> None:
    found = suspect_order(KNOWN[data])
    assert (found["data"], found["evidence"], found["suspected"]) == (data, "counts", None)


@pytest.mark.parametrize("name", [name for name, order in ORDERS.items() if order != EMOTIONS])
def test_another_release_s_order_is_named(name: str) -> None:
    found = suspect_order({split: _read_as_csv(part, ORDERS[name]) for split, part in FER2013.items()})
    assert found["evidence"] == "counts"
    assert tuple(found["suspected"].values()) == ORDERS[name]
    assert name in found["sentence"]


def test_one_split_with_the_published_numbers_is_enough() -> None:
    training = _read_as_csv(FER2013["Training"], tuple(sorted(EMOTIONS)))
    found = suspect_order({"train": {name: n - 7 for name, n in training.items()}, "validation": training})
    assert found["suspected"]["happy"] == "happy"
    assert found["suspected"]["sad"] == "neutral"


def test_a_tenth_of_fer2013_in_alphabetical_order_is_suspected_by_its_shares() -> None:
    alphabetical = tuple(sorted(EMOTIONS))
    shares = np.array([FER2013["Training"][name] for name in alphabetical]) / 28709
    drawn = np.random.default_rng(1).multinomial(2871, shares)
    found = suspect_order({"train": dict(zip(EMOTIONS, map(int, drawn), strict=True))})
    assert found["evidence"] == "shares"
    assert found["suspected"]["neutral"] == "surprise"


def test_a_sample_of_fer2013_as_it_is_is_not_suspected() -> None:
    shares = np.array(list(FER2013["Training"].values())) / 28709
    for seed in range(20):
        drawn = np.random.default_rng(seed).multinomial(3000, shares)
        found = suspect_order({"train": dict(zip(EMOTIONS, map(int, drawn), strict=True))})
        assert (found["data"], found["suspected"]) in (("FER2013", None), (None, None))


def test_other_data_is_left_alone() -> None:
    balanced = dict.fromkeys(EMOTIONS, 500)
    assert suspect_order({"train": balanced})["data"] is None
    assert suspect_order({"train": {"happy": 7215, "sad": 4830}})["data"] is None
    assert suspect_order({"train": {**FER2013["Training"], "contempt": 3}})["data"] is None
