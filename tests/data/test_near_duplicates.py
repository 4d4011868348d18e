"""Near-duplicates are found by their hash; blank images and other faces are not taken for them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.data.near_duplicates import NEAR, clusters, perceptual_hash
from fer_lab.data.synthetic import generate_faces


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return generate_faces(60, seed=3).images


def _distance(a: np.ndarray, b: np.ndarray) -> int:
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


def test_a_face_lit_compressed_or_scaled_otherwise_stays_near(faces: np.ndarray) -> None:
    for face in faces[:20]:
        darker = (face * 0.8).astype(np.uint8)
        jpeg = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
        small = cv2.resize(cv2.resize(face, (32, 32), interpolation=cv2.INTER_AREA), (48, 48))
        for other in (darker, jpeg[..., None], small[..., None], np.repeat(face, 3, axis=2)):
            assert _distance(face, other) <= NEAR


def test_another_random_picture_is_far() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (50, 48, 48, 1), np.uint8)
    hashes = np.array([perceptual_hash(picture) for picture in pictures], np.uint64)
    assert len(set(clusters(hashes, NEAR))) == 50


def test_blank_images_are_near_their_exact_copies_only(faces: np.ndarray) -> None:
    blank = [np.full((48, 48, 1), level, np.uint8) for level in (0, 1, 128, 255, 128)]
    almost = np.full((48, 48, 1), 128, np.uint8)
    almost[3, 4] = 140
    hashes = [perceptual_hash(image) for image in (*blank, almost, *faces)]
    groups = clusters(np.array(hashes, np.uint64), NEAR)
    assert groups[:6].tolist() == [0, 1, 2, 3, 2, 4]
    assert not set(groups[:6]) & set(groups[6:])


def test_clusters_follow_chains_and_are_numbered_by_first_appearance() -> None:
    hashes = np.array([0b111111, 0xFF << 40, 0b000111, 0b111111, 0, 0xFF << 40 | 1 << 63], np.uint64)
    assert clusters(hashes, 2).tolist() == [0, 1, 2, 0, 3, 1]
    assert clusters(hashes, 3).tolist() == [0, 1, 0, 0, 0, 1]
    assert clusters(hashes, 0).tolist() == [0, 1, 2, 0, 3, 4]
    assert clusters(np.empty(0, np.uint64), 4).tolist() == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=6)), max_size=20),
    st.integers(0, 9),
)
def test_clusters_agree_with_comparing_all_pairs(
    seeds: list[int], flips: list[tuple[int, set[int]]], max_distance: int
) -> None:
    near = [seeds[i % len(seeds)] ^ sum(1 << bit for bit in bits) for i, bits in flips]
    hashes = [*seeds, *near]
    parent = list(range(len(hashes)))
    for _ in hashes:
        for i, a in enumerate(hashes):
            for j, b in enumerate(hashes):
                if (a ^ b).bit_count() <= max_distance:
                    parent[i] = parent[j] = min(parent[i], parent[j])
    expected = np.unique(parent, return_inverse=True)[1]
    assert clusters(np.array(hashes, np.uint64), max_distance).tolist() == expected.tolist()
