"""What an exported file says about itself, so that no user has to know how its network was trained."""

import json
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from fer_lab.errors import FerLabError

KEY = "fer_lab"  # the one key of an ONNX file's metadata_props that is ours; its value is ModelMetadata as JSON


def _version() -> str:
    try:
        return version("fer_lab")
    except PackageNotFoundError:  # a source tree on the path that was never installed
        return "unknown"


@dataclass(frozen=True)
class ModelMetadata:
    """The contract between a file and whoever feeds it faces.

    class_names: names of the K outputs, in order. channels: "grey" (C = 1) or "rgb" (C = 3).
    native_size: the side in pixels of the square faces the network takes; it resizes them to input_size itself.
    crop_margin: share of the face box's side added around it before the crop, as in training.
    temperature: what the logits are divided by before the softmax (Guo et al. 2017), refitted for a quantised file.
    pretraining: "none", or the initial weights' name and hash. licence: the training data's licence note.
    """

    class_names: tuple[str, ...]
    channels: Literal["grey", "rgb"]
    native_size: int
    input_size: int
    crop_margin: float
    temperature: float
    backbone: str
    run_key: str
    experiment: str
    pretraining: str | dict[str, str]
    licence: str
    fer_lab: str = field(default_factory=_version)

    @property
    def face_shape(self) -> tuple[int, int, int]:
        """Shape H×W×C of one face."""
        return self.native_size, self.native_size, 1 if self.channels == "grey" else 3

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None, source: object) -> "ModelMetadata":
        """The inverse of to_json; `source` names the file in the refusal. Raises FerLabError when `text` is no metadata of ours."""
        if not text:
            raise FerLabError(
                f"{source} carries no fer_lab metadata, so its class order and preprocessing are unknown: "
                "export it with `python -m fer_lab.export run=<folder>`"
            )
        try:
            values = json.loads(text)
            known = {f.name for f in fields(cls)}
            metadata = cls(**{name: value for name, value in values.items() if name in known})
            return cls(**{**asdict(metadata), "class_names": tuple(metadata.class_names)})
        except (TypeError, ValueError, AttributeError) as error:
            raise FerLabError(
                f"the fer_lab metadata of {source} cannot be read ({error}): export the file again"
            ) from error

    def require_classes(self, class_names: tuple[str, ...], source: object) -> None:
        """Raise FerLabError unless the file's outputs are exactly `class_names`, in that order."""
        if tuple(class_names) != self.class_names:
            raise FerLabError(
                f"{source} answers ({', '.join(self.class_names)}) but ({', '.join(class_names)}) is needed, "
                "in that order: use a file exported from a run with those classes"
            )
