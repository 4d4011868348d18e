"""CLAHE as part of the network: what OpenCV makes of the same face, in training, in the exported graph and live."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fer_lab.data.synthetic import generate_faces
from fer_lab.deploy.onnx import trace
from fer_lab.deploy.parity import FP32_LIMIT
from fer_lab.errors import FerLabError
from fer_lab.export import export
from fer_lab.models.illumination import Clahe
from fer_lab.models.network import build_network, describe_network
from fer_lab.models.preprocess import Preprocess
from fer_lab.results.record import read_record
from fer_lab.schema import compose
from fer_lab.train import train

SHAPES = [(48, 48), (64, 64), (112, 112), (50, 50), (48, 50), (50, 48), (97, 113)]


def faces(shape: tuple[int, int]) -> np.ndarray:
    """uint8 N×H×W: drawn faces, one in the dark, one over-exposed, noise, and one grey level."""
    drawn = generate_faces(4, seed=1).images[..., 0]
    drawn = np.stack([cv2.resize(face, shape[::-1], interpolation=cv2.INTER_CUBIC) for face in drawn])
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.stack([*drawn, drawn[0] // 6, cv2.add(drawn[1], 120), noise, np.full(shape, 7, np.uint8)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("clip_limit", "tiles"), [(2.0, 4), (2.0, 8), (4.0, 3), (40.0, 8), (0.5, 1)])
def test_it_is_what_opencv_does(shape: tuple[int, int], clip_limit: float, tiles: int) -> None:
    images = faces(shape)
    opencv = cv2.createCLAHE(clip_limit, (tiles, tiles))
    wanted = np.stack([opencv.apply(image) for image in images])
    found = Clahe(clip_limit, tiles)(torch.from_numpy(images)[:, None])[:, 0].numpy()
    assert np.abs(found - wanted).max() < 1
    assert np.abs(wanted[:7].astype(int) - images[:7]).mean() > 3  # OpenCV does change these faces


def test_of_a_colour_face_the_luma_is_equalised_and_the_chroma_stays() -> None:
    rgb = np.random.default_rng(0).integers(60, 180, (3, 12, 12, 3), np.uint8)
    rgb = np.stack([cv2.resize(image, (48, 48), interpolation=cv2.INTER_CUBIC) for image in rgb])
    found = Clahe(2.0, 4)(torch.from_numpy(rgb).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    opencv = cv2.createCLAHE(2.0, (4, 4))
    for image, normalised in zip(rgb, found, strict=True):
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 0]
        inside = (normalised.min(-1) > 0) & (normalised.max(-1) < 255)  # not clipped
        wanted = image + (opencv.apply(luma).astype(np.float32) - luma)[..., None]
        assert inside.mean() > 0.7
        assert np.abs(normalised - wanted)[inside].max() < 1


def test_it_comes_before_the_resize_and_takes_bytes_as_they_are() -> None:
    images = torch.from_numpy(faces((48, 48)))[..., None]
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    clahe = Clahe(2.0, 4)
    found = Preprocess(96, mean, std, clahe)(images)
    equalised = clahe(images.permute(0, 3, 1, 2)).round().to(torch.uint8)
    torch.testing.assert_close(found, Preprocess(96, mean, std)(equalised), atol=1 / 255 / 0.25, rtol=0)


@pytest.mark.parametrize(
    ("size", "channels"),
    [pytest.param(48, 1, marks=pytest.mark.slow), (50, 3)],  # the exported run below has grey faces of 48 pixels
)
def test_the_exported_graph_does_what_torch_does(size: int, channels: int) -> None:
    images = np.repeat(faces((size, size))[..., None], channels, axis=-1)
    images = images // np.arange(1, channels + 1, dtype=np.uint8)
    pixels = nn.Sequential(Preprocess(64, (0.5,) * 3, (0.25,) * 3, Clahe(2.0, 4)), nn.Flatten())
    session = onnxruntime.InferenceSession(
        trace(pixels, (size, size, channels)).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, len(images)):  # any number of faces
        (found,) = session.run(["logits"], {"faces": images[:batch]})
        np.testing.assert_allclose(found, pixels(torch.from_numpy(images[:batch])).numpy(), atol=1e-4)


def test_a_run_records_it_and_its_exported_files_have_it(tiny: Callable) -> None:
    cfg = tiny("illumination=clahe", "trainer.max_epochs=1", "name=lit")
    record = train(cfg)
    assert record["model"]["illumination"] == "Clahe(clip_limit=2, tiles=4)"
    assert record["choices"]["illumination"] == "clahe"
    done = export(compose("export", [f"run={cfg.paths.run}", "quantization.calibration_faces=64"]))
    assert done["files"]["onnx_fp32"]["parity"]["max"] < FP32_LIMIT
    assert done["files"]["onnx_int8"]["parity"]["top1"] > 0.8
    assert read_record(Path(cfg.paths.run))["model"] == record["model"]  # type: ignore[index]


def test_a_network_without_it_says_so_and_a_wrong_setting_is_refused() -> None:
    network = build_network(compose("train", ["backbone=tiny", "head=linear"]), 7)
    assert describe_network(network, 48, 1)["illumination"] == "none"
    assert "illumination" not in str(network.preprocess)  # kept features of earlier runs stay valid
    with pytest.raises(FerLabError, match=r"illumination.clip_limit=0 must be positive"):
        Clahe(0, 4)
