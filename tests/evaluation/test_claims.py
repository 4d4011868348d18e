"""Claims are judged by the share of mistakes that go where they say, by rule."""

import numpy as np
import pytest

from fer_lab.evaluation.claims import CLAIMS, HELD, NOT_ASKED, NOT_HELD, UNDECIDED, Claim, judge
from fer_lab.evaluation.scenarios import SCENARIOS

NAMES = ("angry", "sad", "fear", "neutral")
ANGRY, SAD, FEAR, NEUTRAL = range(4)
TO_DARK = Claim("to the dark", "a paper", "backlight", (), ("sad", "fear"))


def judged(clean, levels, labels, claim=TO_DARK, groups=None):
    answers = {"clean": [np.array(clean)], claim.scenario: [np.array(level) for level in levels]}
    groups = np.arange(len(labels)) if groups is None else groups
    return judge(answers, np.array(labels), groups, NAMES, "key", [claim])[0]


def test_the_shares_by_hand():
    # six faces that are neither sad nor fear; the seventh is sad, and no mistake on it can count
    labels = [ANGRY, ANGRY, ANGRY, NEUTRAL, NEUTRAL, NEUTRAL, SAD]
    clean = [NEUTRAL, NEUTRAL, SAD, NEUTRAL, ANGRY, NEUTRAL, FEAR]  # 4 mistakes, 1 to the dark
    first = [SAD, FEAR, SAD, NEUTRAL, ANGRY, NEUTRAL, FEAR]  # 4 mistakes, 3 to the dark
    second = [SAD, NEUTRAL, SAD, SAD, ANGRY, FEAR, FEAR]  # 6 mistakes, 4 to the dark
    found = judged(clean, [first, second], labels)
    assert (found["clean_mistakes"], found["mistakes"]) == (4, 10)
    assert found["clean_share"] == 0.25
    assert found["share"] == 0.7
    assert found["difference"] == pytest.approx(0.45)
    assert (found["clean_rate"], found["rate"]) == pytest.approx((1 / 6, 7 / 12))
    assert found["low"] <= found["difference"] <= found["high"]


@pytest.mark.parametrize(
    ("clean_to", "then_to", "verdict"), [(NEUTRAL, SAD, HELD), (SAD, NEUTRAL, NOT_HELD), (SAD, SAD, NOT_HELD)]
)
def test_verdicts_of_clear_cases(clean_to, then_to, verdict):
    labels = [ANGRY] * 40
    assert judged([clean_to] * 40, [[then_to] * 40] * 5, labels)["verdict"] == verdict


def test_a_difference_that_may_be_chance_is_undecided():
    labels, clean = [ANGRY] * 20, [SAD] * 10 + [NEUTRAL] * 10
    assert judged(clean, [[SAD] * 11 + [NEUTRAL] * 9], labels)["verdict"] == UNDECIDED


def test_copies_of_one_face_are_one_witness():
    labels, clean, then = [ANGRY] * 40, [NEUTRAL] * 36 + [SAD] * 4, [SAD] * 20 + [NEUTRAL] * 20
    alone = judged(clean, [then], labels)
    together = judged(clean, [then], labels, groups=np.repeat([0, 1], 20))
    assert alone["verdict"] == HELD
    assert together["verdict"] != HELD
    assert together["high"] - together["low"] > alone["high"] - alone["low"]


def test_no_mistakes_decide_nothing_and_an_absent_class_is_not_asked_about():
    assert judged([ANGRY] * 5, [[SAD] * 5], [ANGRY] * 5)["verdict"] == UNDECIDED
    unknown = Claim("to disgust", "a paper", "backlight", (), ("disgust",))
    assert judged([SAD] * 5, [[SAD] * 5], [ANGRY] * 5, unknown)["verdict"] == NOT_ASKED


def test_only_the_faces_meant_count():
    claim = Claim("fear to angry", "a paper", "low_light", ("fear",), ("angry",))
    found = judged([SAD, SAD, SAD], [[ANGRY, ANGRY, SAD]], [FEAR, NEUTRAL, FEAR], claim)
    assert (found["clean_mistakes"], found["mistakes"], found["share"]) == (2, 2, 0.5)


def test_every_claim_names_a_scenario():
    assert {claim.scenario for claim in CLAIMS} <= SCENARIOS.keys()
