"""TFLite files: same answers as torch, metadata inside the flatbuffer, three precisions, uint8 faces in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_lab.deploy.exported import CalibratedSoftmax
from fer_lab.deploy.metadata import KEY
from fer_lab.deploy.parity import parity, require_parity
from fer_lab.deploy.rewrite import RawPixels
from fer_lab.deploy.runtimes import Classifier, TorchClassifier
from fer_lab.deploy.tflite import SIGNATURE, convert, quantize, read, write
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="the extra [tflite] is not installed")


@pytest.fixture(scope="module")
def content(tflite_content: bytes) -> bytes:
    return tflite_content


@pytest.fixture
def file(tflite_file: Path) -> Path:
    return tflite_file


@pytest.fixture(scope="module")
def int8(content: bytes, metadata, faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tflite")
    return write(quantize(content, "int8", faces[:64]), metadata, folder / "int8.tflite")


def operators(path: Path) -> list[tuple[str, list[np.dtype]]]:
    """Kind and input types of each operator."""
    interpreter = litert.Interpreter(str(path), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    details = interpreter._get_ops_details()
    return [(each["op_name"], [types[i] for i in each["inputs"] if i >= 0]) for each in details]


def test_float_file_answers_as_torch_does(file: Path, network, metadata, faces) -> None:
    classifier = Classifier.load(file, threads=2)
    assert classifier.metadata == metadata
    assert classifier.runtime == "litert"
    reference = TorchClassifier(network, metadata, 1)
    measured = parity(reference.probabilities(faces), classifier.probabilities(faces))
    require_parity(measured, file.name)
    assert measured["top1"] == 1.0
    np.testing.assert_allclose(classifier.logits(faces), reference.logits(faces), atol=1e-3)
    assert classifier.probabilities(faces[:0]).shape == (0, 7)


def test_dynamic_range_is_smaller_and_mostly_agrees(content: bytes, file: Path, metadata, faces, tmp_path) -> None:
    path = write(quantize(content, "dynamic"), metadata, tmp_path / "dynamic.tflite")
    assert path.stat().st_size < 0.85 * file.stat().st_size
    measured = parity(Classifier.load(file).probabilities(faces), Classifier.load(path).probabilities(faces))
    assert measured["top1"] > 0.9
    assert measured["max"] > 1e-5


def test_int8_takes_uint8_computes_in_int8_and_answers_in_float(int8: Path, file: Path, faces) -> None:
    signature = litert.Interpreter(str(int8)).get_signature_runner(SIGNATURE)
    assert signature.get_input_details()["faces"]["dtype"] == np.uint8
    assert {each["dtype"] for each in signature.get_output_details().values()} == {np.float32}
    kinds = operators(int8)
    convolutions = [types for kind, types in kinds if kind in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    assert convolutions
    assert all(types[:2] == [np.int8, np.int8] for types in convolutions)
    before = [kind for kind, _ in kinds].index("QUANTIZE")
    assert "RESIZE_BILINEAR" in [kind for kind, _ in kinds[:before]]  # the preprocessing stays float
    assert int8.stat().st_size < 0.9 * file.stat().st_size
    measured = parity(Classifier.load(file).probabilities(faces), Classifier.load(int8).probabilities(faces))
    assert measured["top1"] > 0.85
    assert measured["mean"] < 0.05


def test_without_inner_names_it_answers_the_same_and_its_ends_keep_names(int8: Path, metadata, faces, tmp_path) -> None:
    path = write(int8.read_bytes(), metadata, tmp_path / "short.tflite", named=False)
    assert path.stat().st_size < int8.stat().st_size
    write(path.read_bytes(), metadata, tmp_path / "again.tflite", named=False)
    assert (tmp_path / "again.tflite").stat().st_size == path.stat().st_size
    assert np.array_equal(Classifier.load(path).logits(faces[:8]), Classifier.load(int8).logits(faces[:8]))
    names = [{each["name"] for each in litert.Interpreter(str(file)).get_input_details()} for file in (int8, path)]
    assert names[0] == names[1]
    assert all(names[1])


def test_a_folded_resize_stays_float(metadata, faces, tmp_path: Path) -> None:
    """Its two matrix products have no integer kernel: the file would not open."""
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(2, 8, 3, stride=2), torch.nn.ReLU6(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    network = torch.nn.Sequential(RawPixels(torch.rand(32, 24) / 24), *body, torch.nn.Linear(8, 7)).eval()
    content = convert(network, metadata)
    plain = Classifier.load(write(content, metadata, tmp_path / "f.tflite")).probabilities(faces[:8])
    for precision in ("dynamic", "int8"):
        path = write(quantize(content, precision, faces[:16]), metadata, tmp_path / f"{precision}.tflite")
        np.testing.assert_allclose(Classifier.load(path).probabilities(faces[:8]), plain, atol=0.05, err_msg=precision)


class Bright(torch.nn.Module):
    """Convolutions that read what is never below 0: the rounding of their weights does not average out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, 2, padding=1),
            torch.nn.ReLU6(),
            torch.nn.Conv2d(16, 16, 5, padding=2, groups=16),
            torch.nn.ReLU6(),
            torch.nn.Conv2d(16, 8, 3),
        )
        self.last = torch.nn.Linear(8, 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(faces.permute(0, 3, 1, 2) / 255).mean((2, 3)))


def test_correcting_biases_takes_away_the_shift(metadata, faces) -> None:
    content = convert(Bright(), metadata)
    wanted, *found = (
        convolutions(each, faces[64:])
        for each in (content, *(quantize(content, "int8", faces[:64], bias_correction=on) for on in (True, False)))
    )
    assert len(wanted) == 3
    for place in range(3):  # ordinary with a stride, depthwise, without padding
        corrected, rounded = (np.square((each[place] - wanted[place]).mean((0, 1, 2))).sum() for each in found)
        assert corrected < 0.5 * rounded
    errors = [np.square(each[-1] - wanted[-1]).sum() for each in found]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bias_whose_weights_are_next_to_nothing_is_kept(place: int, metadata, faces) -> None:
    """In 32 bits of the weights' scale it would be cut off, and the channel dark for every face."""
    network = Bright()
    with torch.no_grad():
        network.body[place].weight[1] *= 1e-12
        network.body[place].bias[1] = 2.0
    content = convert(network, metadata)
    wanted, found = (convolutions(each, faces[64:68]) for each in (content, quantize(content, "int8", faces[:64])))
    assert wanted[place // 2][..., 1].mean() == pytest.approx(2, abs=1e-3)
    assert found[place // 2][..., 1].mean() == pytest.approx(2, abs=0.05)


def convolutions(content: bytes, faces: np.ndarray) -> list[np.ndarray]:
    """What each gives, float32 N×h×w×C."""
    without = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    running = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=without, experimental_preserve_all_tensors=True
    )
    running.allocate_tensors()
    outputs = [each["outputs"][0] for each in running._get_ops_details() if "CONV_2D" in each["op_name"]]
    scales = [running._get_tensor_details(output, 0)["quantization"] for output in outputs]
    found: list[list[np.ndarray]] = [[] for _ in outputs]
    for face in faces:
        running.set_tensor(running.get_input_details()[0]["index"], face[None])
        running.invoke()
        for into, output, (scale, zero) in zip(found, outputs, scales, strict=True):
            into.append((running.get_tensor(output)[0].astype(np.float32) - zero) * (scale or 1))
    return [np.array(each) for each in found]


def test_what_shall_stay_float_stays_float(content: bytes, faces, metadata, tmp_path: Path) -> None:
    path = write(quantize(content, "int8", faces[:8], float_types=["ADD"]), metadata, tmp_path / "a.tflite")
    assert all(types == [np.float32, np.float32] for kind, types in operators(path) if kind == "ADD")
    with pytest.raises(FerLabError, match="needs calibration faces"):
        quantize(content, "int8")
    with pytest.raises(FerLabError, match="precision=int4 is unknown"):
        quantize(content, "int4")


def test_written_again_it_holds_the_new_metadata_only(int8: Path, metadata, tmp_path: Path) -> None:
    other = replace(metadata, experiment="other")
    path = write(int8.read_bytes(), other, tmp_path / "again.tflite")
    assert Classifier.load(path).metadata == other
    written = path.read_bytes()
    assert written.count(f'"{KEY}": '.encode()) == 1
    assert b"site-packages" not in written
    assert b".py" not in written


def test_weights_are_written_as_arrays_not_byte_by_byte(int8: Path, metadata, tmp_path: Path, monkeypatch) -> None:
    import flatbuffers

    bytes_alone: list[int] = []
    prepend = flatbuffers.Builder.PrependUint8
    monkeypatch.setattr(
        flatbuffers.Builder, "PrependUint8", lambda self, byte: bytes_alone.append(byte) or prepend(self, byte)
    )
    again = write(int8.read_bytes(), metadata, tmp_path / "again.tflite")
    assert len(bytes_alone) < 100
    assert again.read_bytes() == int8.read_bytes()
    kept = [buffer.data for buffer in read(int8.read_bytes()).buffers if buffer.data is not None]
    assert sum(map(len, kept)) > 10_000
    assert {type(data) for data in kept} == {np.ndarray}


def test_weights_lie_at_multiples_of_16_bytes(file: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    content = file.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    whole = np.frombuffer(content, np.uint8)
    starts = []
    for i in range(model.BuffersLength()):
        data = model.Buffers(i).DataAsNumpy()
        if isinstance(data, np.ndarray):
            starts.append(data.__array_interface__["data"][0] - whole.__array_interface__["data"][0])
    assert starts
    assert {start % 16 for start in starts} == {0}


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 2.5},
        {"scale": [1.0, 2, 0.5], "bias": [0.5, 0, -1.0]},
        {"x": [[0.1, 0.5, 0.9], [0.2, 0.8], [0.5]], "y": [[0.1, 0.3, 0.8], [0.1, 0.9], [0.4]]},
    ],
)
def test_calibration_in_torch_is_the_one_in_python(parameters: dict) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 3)).astype(np.float32)
    calibration = Calibration("any", parameters)
    answered = CalibratedSoftmax(calibration)(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(answered, calibration.probabilities(logits), atol=1e-5)


class Linear(torch.nn.Module):
    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(int(np.prod(shape)), 7)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.layer(faces.flatten(1).float() / 255)


@pytest.mark.parametrize(
    "calibrations",
    [
        ({"temperature": 1.0}, {"temperature": 2.5}),
        (
            {"scale": [1.0] * 7, "bias": [0.0] * 7},
            {"scale": [1.0, 2, 0.5, 1, 3, 1, 1], "bias": [0.5, 0, -1.0, 1, 0, 0, 2]},
        ),
    ],
)
def test_a_calibration_found_later_is_written_into_the_graph(calibrations, metadata, faces, tmp_path: Path) -> None:
    """Converted once, written with one calibration after another: probabilities are as Python has them."""
    first, later = (replace(metadata, calibration={"method": "any", **each}) for each in calibrations)
    network = Linear(metadata.face_shape)
    content = quantize(convert(network, first), "int8", faces[:8])
    other = {"scale": [1.0] * 7, "bias": [0.0] * 7} if "temperature" in calibrations[0] else {"temperature": 1.0}
    with pytest.raises(FerLabError, match="was not converted for a calibration with"):
        write(content, replace(metadata, calibration=other), tmp_path / "other.tflite")
    for each in (first, later):
        classifier = Classifier.load(write(content, each, tmp_path / "file.tflite"))
        wanted = Calibration.from_dict(each.calibration).probabilities(classifier.logits(faces))
        np.testing.assert_allclose(classifier.probabilities(faces), wanted, atol=1e-5)
    again = Classifier.load(write((tmp_path / "file.tflite").read_bytes(), first, tmp_path / "again.tflite"))
    wanted = Calibration.from_dict(first.calibration).probabilities(again.logits(faces))
    np.testing.assert_allclose(again.probabilities(faces), wanted, atol=1e-5)


def test_refusals(file: Path, content: bytes, metadata, tmp_path: Path) -> None:
    foreign, garbage = tmp_path / "foreign.tflite", tmp_path / "garbage.tflite"
    foreign.write_bytes(content)
    garbage.write_bytes(b"\0\0\0\0TFL4" + bytes(100))
    for path, sentence in ((foreign, "carries no fer_lab metadata"), (garbage, "no flatbuffer of TFLite")):
        with pytest.raises(FerLabError, match=sentence):
            Classifier.load(path)
    two = write(content, replace(metadata, class_names=("happy", "sad")), tmp_path / "two.tflite")
    with pytest.raises(FerLabError, match="promises logits N×2"):
        Classifier.load(two)
    with pytest.raises(FerLabError, match=r"model\.tflite answers \(angry"):
        Classifier.load(file, class_names=("happy", "sad"))
