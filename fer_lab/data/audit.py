"""What is wrong with a source of faces: duplicates within and across splits, conflicting labels, constant images."""

from collections import Counter, defaultdict
from typing import Any

from rich.progress import track

from fer_lab.data.source import SPLITS, Source
from fer_lab.errors import FerLabError


def inspect_faces(source: Source) -> dict[str, Any]:
    """Read every face of a source once.

    Returns:
        source, licence, faces, counts {split: {emotion: n}}, unreadable (sentences), duplicate_groups and
        duplicate_rows (pixel-identical faces), conflicting_groups (of those, with different labels), copies_in_train
        {split: rows}, constant (ids of images whose max equals their min).
    """
    faces: list[tuple[bytes, str, str]] = []
    constant: list[str] = []
    unreadable: list[str] = []
    for face in track(source.read(), f"Auditing {source.name}", total=source.expected(), transient=True):
        if isinstance(face, FerLabError):
            unreadable.append(str(face))
            continue
        faces.append((face.image.tobytes(), face.emotion, face.split))
        if face.image.max() == face.image.min():
            constant.append(face.sample_id)
    found = {"source": source.name, "licence": source.licence, **_findings(source, faces)}
    return found | {"constant": constant, "unreadable": unreadable}


def _findings(source: Source, faces: list[tuple[bytes, str, str]]) -> dict[str, Any]:
    counts = Counter((split, emotion) for _, emotion, split in faces)
    same: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for pixels, emotion, split in faces:
        same[pixels].append((emotion, split))
    groups = [members for members in same.values() if len(members) > 1]
    copied = Counter(split for g in groups if any(s == "train" for _, s in g) for _, split in g if split != "train")
    return {
        "faces": len(faces),
        "counts": {split: {name: counts[split, name] for name in source.class_names} for split in SPLITS},
        "duplicate_groups": len(groups),
        "duplicate_rows": sum(len(group) for group in groups),
        "conflicting_groups": sum(len({emotion for emotion, _ in group}) > 1 for group in groups),
        "copies_in_train": {split: copied[split] for split in SPLITS[1:]},
    }


def findings_in_words(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What was counted and the count, as text."""
    copies = ", ".join(f"{n} {split}" for split, n in found["copies_in_train"].items())
    return [
        ("faces", f"{found['faces']:,}"),
        ("unreadable", str(len(found["unreadable"]))),
        ("groups of pixel-identical faces", f"{found['duplicate_groups']:,} with {found['duplicate_rows']:,} rows"),
        ("of those with conflicting labels", str(found["conflicting_groups"])),
        ("rows with a copy in train", copies),
        ("constant images", str(len(found["constant"]))),
        ("licence", found["licence"]),
    ]


def markdown(found: dict[str, Any]) -> str:
    """The audit as a Markdown page."""
    names = list(found["counts"]["train"])
    rows = [[split, *(str(found["counts"][split][name]) for name in names)] for split in SPLITS]
    table = [["split", *names], ["---"] * (len(names) + 1), *rows]
    lines = [
        f"# Audit of {found['source']}",
        "",
        *(f"- {what}: {value}" for what, value in findings_in_words(found)),
        "",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table)]) + "\n"
