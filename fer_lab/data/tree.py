"""What a folder of images says of them without opening one: class, split and subject, by folders or a csv manifest."""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from fer_lab.data.images import is_image
from fer_lab.errors import FerLabError
from fer_lab.labels import LabelMap, names_of

#: Files with these suffixes count as images, and are reported where they are none; others count by their content.
IMAGE_SUFFIXES = frozenset(
    (
        ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".pgm", ".ppm",
        ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif",
    )
)  # fmt: skip
#: How releases spell their splits (case, spaces, - and _ do not matter).
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validationset", "valset", "dev", "publictest"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "privatetest"), "test"),
}
COLUMNS = ("path", "label", "subject", "split")


class Entry(NamedTuple):
    """One image: its path below the root with forward slashes, which is its sample id; its emotion, None where the
    label map leaves it out; its split, "" without one; and the manifest's other columns."""

    name: str
    emotion: str | None
    split: str
    columns: Mapping[str, str | float]


def entries_of_folders(root: Path, label_map: LabelMap, split_names: Mapping[str, str]) -> list[Entry]:
    """All images below a root, sorted by path, classified by the names of the folders they are in.

    Args:
        root: of the tree; class and split may stand at any depth, other folders (subjects, sessions) between them.
        label_map: see :func:`fer_lab.labels.names_of`; split_names: further spellings, or other meanings of known ones.

    Raises:
        FerLabError: no image, or one whose folders name no class, two classes or two splits; or a folder is unreadable.
    """
    classes, splits = names_of(label_map), _spellings(split_names)
    of_folder: dict[str, tuple[str | None, str]] = {}
    entries = []
    for name in _images(root):
        folder = str(PurePosixPath(name).parent)
        if folder not in of_folder:
            of_folder[folder] = _class_of(folder, root, classes, label_map), split_of(folder, splits, str(root))
        emotion, split = of_folder[folder]
        entries.append(Entry(name, emotion, split, {}))
    if not entries:
        raise FerLabError(f"data.path={root} holds no image; give the folder whose sub-folders are the classes.")
    return entries


def entries_of_manifest(
    root: Path,
    manifest: Path,
    label_map: LabelMap,
    split_names: Mapping[str, str],
    columns: Mapping[str, str],
) -> list[Entry]:
    """The images that a csv lists, in its order; images it does not list are not used.

    Args:
        root: what its paths are relative to.
        manifest: with the columns path, label, subject, split; all but path may be absent: label and split then come
            from the folders. Separated by comma, semicolon or tab. Further columns are kept, as numbers where all are.
        columns: its names of these columns, where they are others, for example {"path": "pth"}.
        label_map, split_names: as in :func:`entries_of_folders`.

    Raises:
        FerLabError: it is unreadable, or a row has no path, a path twice, or an unknown class or split; with the line.
    """
    table = _read(manifest, columns)
    classes, splits = names_of(label_map), _spellings(split_names)
    names = [name.strip().replace("\\", "/").removeprefix("./") for name in table["path"]]
    kept = {name: _values(table[name]) for name in table.columns if name not in ("path", "label", "split")}
    seen: set[str] = set()
    entries = []
    for row, name in enumerate(names):
        where = f"{manifest}, line {table.index[row]}"
        if not name or name in seen:
            raise FerLabError(f"{where}: {f'{name!r} is listed twice' if name else 'there is no path'}; correct it.")
        seen.add(name)
        folder = str(PurePosixPath(name).parent)
        if "label" in table:
            label = table["label"].iat[row].strip().lower()
            if label not in classes:
                raise FerLabError(f"{where}: {_unknown(table['label'].iat[row], classes, label_map)}")
            emotion = classes[label]
        else:
            emotion = _class_of(folder, root, classes, label_map)
        split = table["split"].iat[row] if "split" in table else split_of(folder, splits, where)
        if "split" in table and split.strip():
            if _plain(split) not in splits:
                raise FerLabError(f"{where}: the split '{split}' is unknown; use train, validation or test.")
            split = splits[_plain(split)]
        values = {column: value for column, found in kept.items() if (value := found[row]) is not None}
        entries.append(Entry(name, emotion, split.strip(), values))
    if not entries:
        raise FerLabError(f"{manifest} lists no image; its rows must follow a line that names the columns.")
    return entries


def with_subjects(entries: Sequence[Entry], pattern: str) -> list[Entry]:
    """Give every entry the subject that its path names.

    Args:
        pattern: regular expression searched for in the path; its first group, or all that matched, is the subject.

    Raises:
        FerLabError: it is no regular expression, or some path does not match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise FerLabError(f"data.subject_pattern={pattern} is no regular expression ({error}); correct it.") from error
    result = []
    for entry in entries:
        match = compiled.search(entry.name)
        if match is None:
            raise FerLabError(f"data.subject_pattern={pattern} does not match '{entry.name}'; correct it.")
        subject = match.group(1) if compiled.groups else match.group()
        result.append(entry._replace(columns={**entry.columns, "subject": subject}))
    return result


def split_of(folder: str, spellings: Mapping[str, str], where: str) -> str:
    """The split that a path's parts name, "" where none does.

    Raises:
        FerLabError: they name two.
    """
    found = {spellings[_plain(part)] for part in PurePosixPath(folder).parts if _plain(part) in spellings}
    if len(found) > 1:
        raise FerLabError(f"{where}: '{folder}' names the splits {' and '.join(sorted(found))}; use a manifest.")
    return found.pop() if found else ""


def _class_of(folder: str, root: Path, classes: Mapping[str, str | None], label_map: LabelMap) -> str | None:
    parts = [part.strip().lower() for part in PurePosixPath(folder).parts]
    found = {classes[part] for part in parts if part in classes}
    if len(found) == 1:
        return found.pop()
    if found:
        named = " and ".join(sorted(map(str, found)))
        raise FerLabError(f"{root}: the folder '{folder}' names the classes {named}; say which in a manifest.")
    if folder == ".":
        raise FerLabError(f"{root}: there are images in no class folder; say their classes in data.manifest=<csv>.")
    raise FerLabError(f"{root}: the folder '{folder}' names no class: {_unknown(parts[-1], classes, label_map)}")


def _unknown(label: str, classes: Mapping[str, str | None], label_map: LabelMap) -> str:
    index = label.strip().isdigit() and isinstance(label_map, str) and not any(name.isdigit() for name in classes)
    hint = " (an index means nothing by itself: name its release, as in data.label_map=raf_db)" if index else ""
    return (
        f"the class '{label}' is unknown{hint}; data.label_map knows {', '.join(classes)}, and takes "
        "{name: emotion, or null to leave it out}."
    )


def _images(root: Path) -> Iterator[str]:
    """Paths below the root with forward slashes, sorted folder by folder; hidden ones are left out."""

    def refuse(error: OSError) -> None:
        raise FerLabError(f"{error.filename} cannot be listed ({error.strerror}); change its permissions.") from error

    walked: set[str] = set()
    for folder, below, files in os.walk(root, onerror=refuse, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        real = os.path.realpath(folder)
        if real in walked:  # a link back up
            below.clear()
            continue
        walked.add(real)
        for file in sorted(files):
            path = Path(folder, file)
            if not file.startswith(".") and (path.suffix.lower() in IMAGE_SUFFIXES or is_image(path)):
                yield path.relative_to(root).as_posix()


def _read(manifest: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """The manifest as text, its columns under our names, its index the lines."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        separator = max(",;\t", key=header.count)
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    except (OSError, ValueError, csv.Error) as error:
        raise FerLabError(f"data.manifest={manifest} is no readable csv ({error}); correct it.") from error
    ours = {theirs: name for name, theirs in columns.items()}
    names = [ours.get(name.strip(), name.strip()) for name in (rows[0] if rows else [])]
    if unknown := set(columns) - set(COLUMNS):
        raise FerLabError(f"data.manifest_columns.{min(unknown)} is unknown; it takes {', '.join(COLUMNS)}.")
    if "path" not in names or len(set(names)) < len(names):
        raise FerLabError(
            f"{manifest}: its columns are {', '.join(names) or 'none'}; it needs path once, and may have label, "
            "subject, split and others (data.manifest_columns={path: <its name>} renames)."
        )
    lines = {line: row for line, row in enumerate(rows[1:], 2) if row}
    for line, row in lines.items():
        if len(row) != len(names):
            raise FerLabError(f"{manifest}, line {line}: {len(row)} values in {len(names)} columns; correct it.")
    return pd.DataFrame(list(lines.values()), index=list(lines), columns=names, dtype=object)


def _values(column: pd.Series) -> list[str | float | None]:
    """Numbers where all of a column are, text otherwise (subjects always); None for blanks."""
    if column.name != "subject":
        numbers = pd.to_numeric(column.str.strip().replace("", None), errors="coerce")
        if numbers.notna().any() and (numbers.notna() | (column.str.strip() == "")).all():
            return [None if pd.isna(number) else float(number) for number in numbers]
    return [value.strip() or None for value in column]


def _spellings(further: Mapping[str, str]) -> dict[str, str]:
    for name, split in further.items():
        if split not in ("train", "validation", "test"):
            raise FerLabError(f"data.split_names.{name}={split} is unknown; use train, validation or test.")
    return {**SPLIT_NAMES, **{_plain(name): split for name, split in further.items()}}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
