"""Groups stay whole, shares are kept, and both ways of splitting keep both promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.data.splits import stratified_folds, stratified_fractions
from fer_lab.errors import FerLabError


@pytest.mark.filterwarnings("ignore:the split became")
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(0, 400), st.integers(20, 60))
def test_no_group_is_divided_and_every_sample_has_a_part(seed: int, alone: int, shared: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation([*range(1000, 1000 + alone), *np.repeat(np.arange(shared), 4)])
    labels = rng.integers(0, 3, len(groups))
    parts = stratified_fractions(labels, groups, [0.6, 0.2, 0.2], seed % 7)
    assert set(parts) <= {0, 1, 2}
    assert all(len(set(parts[groups == group])) == 1 for group in range(shared))


def test_single_samples_are_split_exactly_by_class() -> None:
    labels = np.repeat([0, 1], [200, 40])
    groups = np.arange(240)
    parts = stratified_fractions(labels, groups, [0.7, 0.15, 0.15], seed=3)
    assert np.bincount(parts).tolist() == [168, 36, 36]
    assert np.bincount(parts[labels == 1]).tolist() == [28, 6, 6]


def test_few_faces_that_all_belong_to_one_part_need_no_split() -> None:
    assert stratified_fractions(np.array([0, 1, 1]), np.arange(3), [0, 0, 1], seed=0).tolist() == [2, 2, 2]


def test_negative_shares_are_refused() -> None:
    with pytest.raises(FerLabError, match="must not be negative"):
        stratified_fractions(np.arange(60) % 2, np.arange(60), [1.2, -0.1, -0.1], seed=0)


def test_few_shared_groups_beside_many_single_samples() -> None:
    """Three shared groups fill no 20 folds by themselves."""
    groups = np.array([*range(300), *[900] * 3, *[901] * 3, *[902] * 3])
    labels = np.arange(len(groups)) % 2
    parts = stratified_fractions(labels, groups, [0.5, 0.5], seed=0)
    assert all(len(set(parts[groups == group])) == 1 for group in (900, 901, 902))
    assert np.bincount(parts).min() > 140


def test_shared_groups_in_which_no_class_fills_the_folds() -> None:
    """Eight pairs of twelve classes beside singles: no class has five of the pairs' faces."""
    groups = np.array([*range(120), *np.repeat(np.arange(900, 908), 2)])
    labels = np.arange(len(groups)) % 12
    parts = stratified_folds(labels, groups, 5, seed=0)
    assert all(len(set(parts[groups == group])) == 1 for group in range(900, 908))
    assert np.bincount(parts[120:], minlength=5).tolist().count(0) == 0
    assert np.bincount(parts).min() >= 24


def test_impossible_fractions_and_too_few_groups() -> None:
    labels, groups = np.zeros(40, int), np.arange(40)
    for fractions in ([0.7, 0.2], [0.71, 0.14, 0.15]):
        with pytest.raises(FerLabError, match=r"multiples of 0.05 that add up to 1"):
            stratified_fractions(labels, groups, fractions, 0)
    with pytest.raises(FerLabError, match="Only 10 groups"):
        stratified_fractions(labels, groups // 4, [0.5, 0.5], 0)


def test_a_group_too_large_for_the_asked_shares_is_told_of() -> None:
    groups = np.array([*range(100), *[900] * 100])  # half of all faces are copies of one
    labels = np.arange(200) % 2
    with pytest.warns(UserWarning, match=r"instead of 60/20/20: 100 of 200 faces belong together"):
        parts = stratified_fractions(labels, groups, [0.6, 0.2, 0.2], seed=0)
    assert np.abs(np.bincount(parts) / 200 - [0.6, 0.2, 0.2]).max() > 0.05
