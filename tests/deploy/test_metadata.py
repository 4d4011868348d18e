import json
from dataclasses import replace

import pytest

from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.errors import FerLabError


def test_round_trip(metadata: ModelMetadata) -> None:
    weights = replace(metadata, pretraining={"weights": "net.safetensors", "sha256": "ab"}, channels="rgb")
    for original in (metadata, weights):
        assert ModelMetadata.from_json(original.to_json(), "x") == original
    assert weights.face_shape == (24, 24, 3)


def test_a_later_version_may_say_more(metadata: ModelMetadata) -> None:
    text = json.dumps(json.loads(metadata.to_json()) | {"new_key": 1})
    assert ModelMetadata.from_json(text, "x") == metadata


def test_refusals_name_the_file(metadata: ModelMetadata) -> None:
    with pytest.raises(FerLabError, match=r"a\.onnx carries no fer_lab metadata"):
        ModelMetadata.from_json(None, "a.onnx")
    less = {k: v for k, v in json.loads(metadata.to_json()).items() if k not in ("temperature", "calibration")}
    for text in ("{not json", "[1]", "{}", json.dumps(less)):
        with pytest.raises(FerLabError, match=r"metadata of a\.onnx cannot be read"):
            ModelMetadata.from_json(text, "a.onnx")


def test_class_order_counts(metadata: ModelMetadata) -> None:
    metadata.require_classes(metadata.class_names, "a.onnx")
    with pytest.raises(FerLabError, match=r"a\.onnx answers \(angry, .* but \(neutral, "):
        metadata.require_classes(metadata.class_names[::-1], "a.onnx")
