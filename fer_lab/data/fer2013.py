"""FER2013 in the three forms people have: the csv, the Kaggle folder tree, and a parquet with an `image` struct.

Its official split is Training, PublicTest (validation), PrivateTest (test).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fer_lab.data.images import read_image, to_channels
from fer_lab.data.source import Face, Source
from fer_lab.data.tree import IMAGE_SUFFIXES
from fer_lab.errors import FerLabError
from fer_lab.labels import LABEL_MAPS, to_emotion

_SIDE = 48
_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}


@dataclass
class Fer2013Source(Source):
    """FER2013 (Goodfellow et al. 2013), 48×48 grey, seven classes.

    Attributes:
        path: fer2013.csv, the folder that holds train/ and test/ (or one of its forms inside), or a parquet file.

    Raises:
        FerLabError: nothing readable at `path` (the message lists the accepted forms), or an impossible setting.
    """

    name = "fer2013"
    licence = "FER2013: research use, the images may not be redistributed"

    path: Path

    def __post_init__(self) -> None:
        super().__post_init__()
        self.path = _find(Path(self.path).expanduser())
        if self.path.suffix == ".parquet":
            try:
                pq.read_schema(self.path)
            except (pa.ArrowException, OSError) as error:
                raise FerLabError(f"{self.path} is not a readable parquet file ({error}); get it again.") from error
        self._files: Sequence[Path] | None = None

    def files(self) -> Sequence[Path]:
        if self._files is None:
            self._files = _images(self.path) if self.path.is_dir() else [self.path]
        return self._files

    def expected(self) -> int | None:
        if self.path.is_dir():
            return len(self.files())
        if self.path.suffix == ".parquet":
            return pq.ParquetFile(self.path).metadata.num_rows
        return None

    def read(self) -> Iterator[Face | FerLabError]:
        if self.path.is_dir():
            return self._read_folder()
        return self._read_parquet() if self.path.suffix == ".parquet" else self._read_csv()

    def _read_csv(self) -> Iterator[Face | FerLabError]:
        try:
            header = pd.read_csv(self.path, nrows=0)
            missing = {"emotion", "pixels", "Usage"} - set(header.columns.str.strip())
            if missing:
                found = ", ".join(map(str, header.columns))
                raise FerLabError(
                    f"{self.path}: column '{min(missing)}' is missing (found: {found}); "
                    "a FER2013 csv has emotion, pixels and Usage."
                )
            chunks = pd.read_csv(self.path, chunksize=2000, dtype=str, keep_default_na=False, skipinitialspace=True)
            line = 1
            for chunk in chunks:
                chunk.columns = chunk.columns.str.strip()
                for emotion, pixels, usage in zip(chunk["emotion"], chunk["pixels"], chunk["Usage"], strict=True):
                    line += 1
                    yield self._face_or_error(
                        f"{usage}-{line - 2:05d}", emotion, usage, f"{self.path}, line {line}", pixels
                    )
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise FerLabError(f"{self.path} is not a readable csv ({error}); get fer2013.csv again.") from error

    def _read_parquet(self) -> Iterator[Face | FerLabError]:
        table = pq.ParquetFile(self.path)
        names = set(table.schema_arrow.names)
        if missing := {"image", "label", "usage"} - names:
            raise FerLabError(
                f"{self.path}: column '{min(missing)}' is missing (found: {', '.join(sorted(names))}); "
                "the parquet form has image, label and usage."
            )
        kind = table.schema_arrow.field("image").type
        if not (pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise FerLabError(f"{self.path}: column 'image' holds {kind}, no encoded images; give the parquet form.")
        row = 0
        for batch in table.iter_batches(batch_size=1000, columns=["image", "label", "usage"]):
            for item in batch.to_pylist():
                where = f"{self.path}, row {row}"
                image = item["image"]
                data = image if isinstance(image, bytes) else (image or {}).get("bytes") or b""
                yield self._face_or_error(f"{item['usage']}-{row:05d}", str(item["label"]), item["usage"], where, data)
                row += 1

    def _read_folder(self) -> Iterator[Face | FerLabError]:
        for path in self.files():
            sample_id = str(path.relative_to(self.path))
            usage = _usage_of(path, self.path)
            yield self._face_or_error(sample_id, path.parent.name, usage, str(path), path, "kaggle_folders")

    def _face_or_error(
        self,
        sample_id: str,
        label: str,
        usage: str,
        where: str,
        pixels: str | bytes | Path,
        label_map: str = "fer2013_csv",
    ) -> Face | FerLabError:
        try:
            if usage not in _USAGE:
                raise FerLabError(f"{where}: usage '{usage}' is unknown; it must be one of {', '.join(_USAGE)}.")
            return Face(sample_id, _decode(pixels, where), to_emotion(label, label_map, where), _USAGE[usage], where)
        except FerLabError as error:
            return error


def _find(path: Path) -> Path:
    forms = "fer2013.csv, a folder with train/ and test/, or a parquet file"
    if not path.exists():
        raise FerLabError(f"data.path={path} does not exist; give {forms}.")
    if path.is_file():
        if path.suffix not in (".csv", ".parquet"):
            raise FerLabError(f"data.path={path} is neither .csv nor .parquet; give {forms}.")
        return path
    if (path / "train").is_dir():
        if not (path / "test").is_dir():
            raise FerLabError(f"{path} has train/ but no test/; give the whole Kaggle folder.")
        return path
    for inside in ("fer2013.csv", "fer2013.parquet", "fer2013"):
        if (path / inside).exists():
            return _find(path / inside)
    raise FerLabError(f"data.path={path} holds neither train/ and test/ nor fer2013.csv; give {forms}.")


def _images(root: Path) -> list[Path]:
    """Images of the Kaggle tree, sorted; class folders are named, so their alphabetical order means nothing."""
    found = []
    for part in ("train", "test"):
        folders = sorted(folder for folder in (root / part).iterdir() if folder.is_dir())
        for folder in folders:
            to_emotion(folder.name, "kaggle_folders", f"{root / part}")
        missing = set(LABEL_MAPS["kaggle_folders"]) - {folder.name.lower() for folder in folders}
        if missing:
            raise FerLabError(f"{root / part}: the class folder '{min(missing)}' is missing; FER2013 has seven.")
        found += [p for folder in folders for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES]
    return found


def _usage_of(path: Path, root: Path) -> str:
    """The release names its test files PublicTest_… and PrivateTest_…, which keeps the official split."""
    if path.relative_to(root).parts[0] == "train":
        return "Training"
    usage = path.name.split("_")[0]
    if usage not in ("PublicTest", "PrivateTest"):
        raise FerLabError(
            f"{path}: the file's name tells neither PublicTest nor PrivateTest, so the official split is lost; "
            "use the release's own file names, or the csv."
        )
    return usage


def _decode(pixels: str | bytes | Path, where: str) -> np.ndarray:
    """48×48×1 uint8 from a string of numbers, an encoded image, or an image file."""
    if isinstance(pixels, str):
        values = _numbers(pixels, where)
        return values.astype(np.uint8).reshape(_SIDE, _SIDE, 1)
    grey = to_channels(read_image(pixels, where), 1)
    if grey.shape[:2] != (_SIDE, _SIDE):
        raise FerLabError(
            f"{where}: the image is {grey.shape[1]}×{grey.shape[0]}, FER2013 is {_SIDE}×{_SIDE}; "
            "use data=folder for other sizes, or data.on_corrupt=skip."
        )
    return np.ascontiguousarray(grey)


def _numbers(pixels: str, where: str) -> np.ndarray:
    try:
        values = np.array(pixels.split(), dtype=np.int32)
    except ValueError as error:
        raise FerLabError(f"{where}: pixels must be whole numbers ({error}); or use data.on_corrupt=skip.") from error
    if values.size != _SIDE * _SIDE:
        raise FerLabError(
            f"{where}: {values.size} pixels instead of {_SIDE * _SIDE}; repair the row, or use data.on_corrupt=skip."
        )
    if values.min() < 0 or values.max() > 255:
        raise FerLabError(f"{where}: a pixel is outside 0-255; repair the row, or use data.on_corrupt=skip.")
    return values
