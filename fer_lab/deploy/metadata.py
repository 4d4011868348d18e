"""What an exported file says about itself, so that no user has to know how its network was trained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from fer_lab import __version__
from fer_lab.errors import FerLabError

KEY = "fer_lab"  # the one key of an ONNX file's metadata_props that is ours; its value is ModelMetadata as JSON
Channels = Literal["grey", "rgb"]


@dataclass(frozen=True)
class ModelMetadata:
    """The contract between a file and whoever feeds it faces.

    class_names: names of the K outputs, in order. channels: "grey" (C = 1) or "rgb" (C = 3).
    native_size: the side in pixels of the square faces the network takes; it resizes them to input_size itself.
    crop_margin: share of the face box's side added around it before the crop, as in training.
    aligned: whether it was trained on faces turned until their eyes are level (fer_lab.faces.align).
    calibration: how logits become probabilities (`Calibration.to_dict`), refitted for a quantised file.
    abstain_below: least confidence of an answer, for the precision asked for on validation; None: none was chosen.
    pretraining: "none", or the initial weights' name and hash. licence: the training data's licence note.
    fer_lab: the version that wrote the file.
    """

    class_names: tuple[str, ...]
    channels: Channels
    native_size: int
    input_size: int
    crop_margin: float
    calibration: dict[str, Any]
    backbone: str
    run_key: str
    experiment: str
    pretraining: str | dict[str, str]
    licence: str
    abstain_below: float | None = None
    aligned: bool = False
    fer_lab: str = __version__

    @property
    def face_shape(self) -> tuple[int, int, int]:
        """Shape H×W×C of one face."""
        return self.native_size, self.native_size, 1 if self.channels == "grey" else 3

    @property
    def temperature(self) -> float:
        """What the logits are divided by before the softmax; 1 for calibrations of another kind."""
        return float(self.calibration.get("temperature", 1.0))

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"temperature": self.temperature}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None, source: object) -> "ModelMetadata":
        """The inverse of to_json; raises FerLabError, naming `source`, when `text` is no metadata of ours."""
        if not text:
            raise FerLabError(
                f"{source} carries no fer_lab metadata, so its class order and preprocessing are unknown: "
                "export it with `python -m fer_lab.export run=<folder>`"
            )
        try:
            known = {field.name for field in fields(cls)}  # a later version may say more
            said = json.loads(text)
            if "calibration" not in said:  # earlier files say the temperature alone
                said["calibration"] = {"method": "temperature", "temperature": said["temperature"]}
            values = {name: value for name, value in said.items() if name in known}
            metadata = cls(**{**values, "class_names": tuple(values["class_names"])})
            metadata._check()
            return metadata
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise FerLabError(
                f"the fer_lab metadata of {source} cannot be read ({error}): export the file again"
            ) from error

    def _check(self) -> None:
        """Raise ValueError where a field is of a kind that its users do not expect."""
        if not self.class_names or not all(isinstance(name, str) for name in self.class_names):
            raise ValueError("class_names are no names")
        if self.channels not in ("grey", "rgb"):
            raise ValueError(f"channels={self.channels!r} is neither grey nor rgb")
        for name in ("native_size", "input_size"):
            if type(size := getattr(self, name)) is not int or not 0 < size <= 4096:
                raise ValueError(f"{name}={size!r} is no side in pixels")
        if not isinstance(self.calibration, dict):
            raise ValueError("calibration is no mapping")

    def require_interface(self, shapes: Mapping[str, Sequence[Any]], source: object) -> None:
        """Raise FerLabError unless `shapes`, of a graph's inputs and outputs by name, are what the metadata promises.

        The first dimension is the batch and may be anything.
        """
        classes = (len(self.class_names),)
        wanted = {"faces": self.face_shape, "logits": classes, "probabilities": classes}
        for name, shape in wanted.items():
            if tuple(shapes.get(name, ()))[1:] != shape:
                said = "×".join(map(str, shapes[name])) if name in shapes else "missing"
                raise FerLabError(
                    f"{source}: its metadata promises {name} N×{'×'.join(map(str, shape))} but in its graph they are "
                    f"{said}: export it again"
                )

    def require_classes(self, class_names: tuple[str, ...], source: object) -> None:
        """Raise FerLabError unless the file's outputs are exactly `class_names`, in that order."""
        if tuple(class_names) != self.class_names:
            raise FerLabError(
                f"{source} answers ({', '.join(self.class_names)}) but ({', '.join(class_names)}) is needed, "
                "in that order: use a file exported from a run with those classes"
            )
