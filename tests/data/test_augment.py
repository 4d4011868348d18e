"""Views of existing files stay what they were; classroom's steps; rare classes are drawn more strongly."""

import hashlib
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
from hydra.utils import instantiate

from fer_lab.data import augment, classroom
from fer_lab.data.augment import STRATA, Augmenter, Condition, FixedView, Occluder, build_augmenter
from fer_lab.data.datamodule import FaceDataModule
from fer_lab.data.dataset import FaceDataset, Views, build_data
from fer_lab.data.synthetic import generate_faces
from fer_lab.errors import FerLabError
from fer_lab.fingerprint import drawn_by
from fer_lab.models.network import build_network
from fer_lab.schema import compose
from fer_lab.training import features
from fer_lab.training.schedule import Stage, freeze

FACES = generate_faces(20, 1).images
COUNTS = np.array([400, 40, 400, 800, 500, 300, 500])
#: sha256 over views drawn before there was anything but plain albumentations steps; kept features and results use them.
DRAWN = {
    "gentle": "c7155d67c870109e", "moderate": "bc8d1754b3c0c0f8", "paper_b": "fc0a7212a40ee64f",
    "targeted": "57de63f9403f39e3",
}  # fmt: skip


def steps_of(name: str, *words: str) -> Any:
    return compose("train", [f"augment={name}", *words]).augment.steps


@pytest.mark.skipif((A.__version__, cv2.__version__) != ("2.0.8", "4.14.0"), reason="drawn with the locked versions")
@pytest.mark.parametrize("name", DRAWN)
def test_existing_files_draw_what_they_always_drew(name: str) -> None:
    augmenter = build_augmenter(compose("train", [f"augment={name}"]).augment, COUNTS)
    digest = hashlib.sha256()
    for epoch in range(10):
        for i, face in enumerate(FACES):
            digest.update(augmenter(face, f"0/{epoch}/{i}", i % 7).tobytes())
    digest.update(augmenter(np.repeat(FACES[0], 3, 2), "view 1/x").tobytes())
    assert digest.hexdigest()[:16] == DRAWN[name]


@pytest.mark.parametrize("name", [*DRAWN, "classroom"])
def test_a_view_is_what_albumentations_draws_from_the_state_of_its_key(name: str) -> None:
    steps = steps_of(name)
    transforms = [instantiate(step, _convert_="all") for step in steps.values()]
    compose_, augmenter = A.Compose(transforms), Augmenter(steps)
    for i, face in enumerate(FACES[:5]):
        word = int.from_bytes(hashlib.shake_128(f"key{i}".encode()).digest(16), "little")
        generator = np.random.Generator(np.random.PCG64())
        state: Any = generator.bit_generator.state
        generator.bit_generator.state = {**state, "state": {"state": word, "inc": word | 1}}
        one = random.Random(word)
        for transform in (compose_, *transforms):
            transform.py_random, transform.random_generator = one, generator
        np.testing.assert_array_equal(augmenter(face, f"key{i}"), compose_(image=face)["image"])


@pytest.mark.parametrize("cube", [0, 3])
def test_fixed_views_of_a_face_spread_over_what_can_be_drawn_and_each_is_drawn_as_any(cube: int) -> None:
    drawn = np.empty((2000, STRATA, 4))
    draws = augment._Draws()
    for i in range(len(drawn)):
        for place in range(STRATA):
            draws.begin(1000 * i + place, FixedView(STRATA * cube + place, f"{i}"))
            drawn[i, place] = [draws.random(), draws.uniform(-1, 1), draws.random(), draws.randrange(STRATA)]
    quarters = np.floor(STRATA * (drawn[..., :3] - [0, -1, 0]) / [1, 2, 1])
    assert (np.sort(quarters, 1) == np.arange(STRATA)[:, None]).all()
    each = drawn.transpose(1, 0, 2)[..., :3]
    np.testing.assert_allclose(drawn[..., 3].mean(0), (STRATA - 1) / 2, atol=0.1)
    np.testing.assert_allclose(each.mean(1), np.broadcast_to([0.5, 0, 0.5], (STRATA, 3)), atol=0.05)
    np.testing.assert_allclose(each.std(1), np.broadcast_to(np.array([1, 2, 1]) / 12**0.5, (STRATA, 3)), atol=0.03)
    for view in each:  # what one number of a view is says nothing of its next
        np.testing.assert_allclose(np.corrcoef(view.T), np.eye(3), atol=0.09)


def test_two_of_four_fixed_views_are_mirrored_and_none_depends_on_what_was_drawn_before() -> None:
    augmenter = Augmenter({"flip": {"_target_": "albumentations.HorizontalFlip", "p": 0.5}})
    plain = [augmenter(FACES[0], f"{i}").tobytes() for i in range(20)]
    mirrored = np.array(
        [
            [(augmenter(FACES[0], FixedView(number, f"{i}")) != FACES[0]).any() for number in range(2 * STRATA)]
            for i in range(200)
        ]
    )
    assert (mirrored.reshape(200, 2, STRATA).sum(2) == STRATA // 2).all()
    np.testing.assert_allclose(mirrored.mean(0), 0.5, atol=0.12)
    assert plain == [augmenter(FACES[0], f"{i}").tobytes() for i in range(20)]
    targeted = Augmenter(steps_of("targeted"))
    views = [targeted(FACES[1], FixedView(number, "x")) for number in range(6)]
    for number in (4, 0, 5):
        np.testing.assert_array_equal(targeted(FACES[1], FixedView(number, "x")), views[number])
    assert len({view.tobytes() for view in views}) == 6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [48, 112])
def test_every_step_of_classroom_changes_a_face_and_its_strength_the_range(size: int, channels: int) -> None:
    face = cv2.resize(FACES[3], (size, size)).reshape(size, size, 1).repeat(channels, 2)
    weak, plain, strong = (steps_of("classroom", f"augment.strength={s}") for s in (0.5, 1.0, 2.0))
    assert len(plain) == 10
    for name, step in plain.items():
        alone = Augmenter({name: {**step, "p": 1.0}})
        views = [alone(face, f"{i}") for i in range(5)]
        assert all(view.shape == face.shape and view.dtype == np.uint8 for view in views), name
        assert any((view != face).any() for view in views), name
    assert weak.pose.amount == pytest.approx([0, 0.3])
    assert strong.occluder.amount == pytest.approx([0.4, 1.4])
    assert Augmenter(strong).compose.transforms[2].amount == (0.4, 1.0)  # there is no more than 1


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("{_target_: fer_lab.data.augment.Condition, name: fog, amount: [0, 1], p: 0.5}", "fog is no condition"),
        ("{_target_: fer_lab.data.augment.Condition, name: noise, amount: [0.5, 0], p: 0.5}", "a range within"),
        ("{_target_: fer_lab.data.augment.Condition, name: noise, amount: [0, 1], p: 2}", "p=2 must be within"),
        ("{_target_: fer_lab.data.augment.Occluder, objects: {hand: [left]}, amount: [0, 1], p: 1}", "must map some"),
        ("{_target_: fer_lab.data.augment.Occluder, objects: {hand: null}, amount: [0, 1], p: 1}", "must map some"),
    ],
)
def test_refused_steps_say_why(step: str, why: str) -> None:
    steps = compose("train", [f"+augment.steps.odd={step}"]).augment.steps
    with pytest.raises(FerLabError, match=f"augment.steps.odd is refused.*{why}"):
        Augmenter(steps)


def test_steps_within_a_step_are_drawn_from_the_key_too() -> None:
    either = {
        "_target_": "albumentations.OneOf",
        "p": 1.0,
        "transforms": [
            {
                "_target_": "albumentations.Sequential",
                "transforms": [{"_target_": "albumentations.GaussNoise", "p": 1.0}],
            },
            {"_target_": "albumentations.RandomGamma", "p": 1.0},
        ],
    }
    first, second = Augmenter({"either": either}), Augmenter({"either": either})
    views = [first(FACES[0], f"key {i}") for i in range(8)]
    for i in reversed(range(8)):
        np.testing.assert_array_equal(second(FACES[0], f"key {i}"), views[i])
    assert len({view.tobytes() for view in views}) == 8


def test_conditions_and_occluders_cover_what_classroom_draws() -> None:
    for name in augment._CONDITIONS:
        assert Condition(name, (0, 1), 1.0).draw is getattr(classroom, name)
    assert {kind for kind, _ in Occluder({kind: ["lower"] for kind in classroom.KINDS}, (0, 1), 1.0).objects} == set(
        classroom.KINDS
    )


def test_rarity_draws_rare_classes_at_twice_the_strength_by_their_counts() -> None:
    cfg = compose("train", ["augment=moderate", "augment.rarity=1", "augment.strength=0.8"]).augment
    assert cfg.steps.geometry.rotate == pytest.approx([-9.6, 9.6])
    assert cfg.rare_steps.geometry.rotate == pytest.approx([-19.2, 19.2])
    assert cfg.rare_steps.flip == cfg.steps.flip
    augmenter, plain, rare = build_augmenter(cfg, COUNTS), Augmenter(cfg.steps), Augmenter(cfg.rare_steps)
    chances = augmenter.chances
    assert chances is not None
    np.testing.assert_allclose(chances, [0.5, 0.95, 0.5, 0, 0.375, 0.625, 0.375])
    shares: list[float] = []
    for label in range(7):
        drawn = []
        for i in range(400):
            view = augmenter(FACES[0], f"{i}", label)
            drawn.append((view == rare(FACES[0], f"{i}")).all())
            assert drawn[-1] or (view == plain(FACES[0], f"{i}")).all()
        shares.append(float(np.mean(drawn)))
    np.testing.assert_allclose(np.array(shares), chances, atol=0.08)


def test_rarity_grows_the_chances_and_its_limits_are_refused() -> None:
    weak, strong = (build_augmenter(compose("train", [f"augment.rarity={r}"]).augment, COUNTS) for r in (0.3, 2))
    assert weak.chances is not None
    assert strong.chances is not None
    assert (weak.chances <= strong.chances).all()
    assert strong.chances[3] == 0
    assert build_augmenter(compose("train").augment, COUNTS).rare is None
    with pytest.raises(FerLabError, match=r"rarity has nothing to add to augment.strength=2"):
        compose("train", ["augment.rarity=1", "augment.strength=2"])
    with pytest.raises(FerLabError, match=r"augment.rarity=-1 must not be negative"):
        build_augmenter(compose("train", ["augment.rarity=-1"]).augment, COUNTS)


def test_kept_features_are_of_the_views_that_training_shows_with_rarity_too(cache_dir: Path, tmp_path: Path) -> None:
    words = ("backbone=tiny", "head=linear", "data.samples=300", "input_size=48", f"paths.cache={cache_dir}")
    cfg = compose("train", [*words, "augment.rarity=1"])
    data = FaceDataModule(build_data(cfg), cfg.augment, 0, 32)
    split = data.train_split
    shown = FaceDataset(split, data.augmenter, Views(2, 0)).__getitems__([(1, i) for i in range(40)])["faces"].numpy()
    views = [features._View(split, "train", data.augmenter, number) for number in (0, 1)]
    numbers = Views(2, 0).number(1, np.arange(40))
    kept = np.stack([view.faces(np.arange(40)) for view in views])[numbers, np.arange(40)]
    np.testing.assert_array_equal(shown, kept)
    plain = Augmenter(cfg.augment.steps)
    different = [
        (plain(split.images[i], Views(2, 0).key(1, numbers[i], split.ids[i])) != shown[i]).any() for i in range(40)
    ]
    assert 0 < sum(different) < 40

    network = build_network(cfg, 7)
    freeze(network, Stage("head", 1, "head"))
    store = features.FeatureStore(tmp_path, "fp32", 1.0)
    prefix = features.Prefix(network, features.frozen_steps(network), next(network.parameters()).device)
    other = compose("train", [*words, "augment.rarity=0.5"])
    keys = {store._key(prefix, views[0], {"data": "d", "augment": str(c.augment)}) for c in (cfg, other)}
    assert len(keys) == 2


def test_the_drawing_code_is_part_of_what_kept_features_depend_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = Path(str(classroom.__file__)).read_text()
    said, changed = tmp_path / "said.py", tmp_path / "changed.py"
    said.write_text(f"{code}\n# a comment draws nothing\n")
    changed.write_text(f"{code}\nSHADE = 1\n")
    assert drawn_by(augment.__file__, str(said)) == augment.DRAWN_BY
    newer = drawn_by(augment.__file__, str(changed))
    assert newer != augment.DRAWN_BY
    store, prefix = features.FeatureStore(tmp_path, "fp32", 1.0), SimpleNamespace(fingerprint="p")
    drawn, plain = (SimpleNamespace(number=0, name="train", augmenter=one) for one in (object(), None))

    def keys() -> list[str]:
        return [store._key(prefix, view, {"data": "d", "augment": "a"}) for view in (drawn, plain)]  # type: ignore[arg-type]

    before = keys()
    monkeypatch.setattr(features, "DRAWN_BY", newer)
    assert [one == other for one, other in zip(before, keys(), strict=True)] == [False, True]
