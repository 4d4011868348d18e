"""Several sources as one: trained on together, scored together and each by itself."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from fer_lab.data.images import CHANNELS, fit
from fer_lab.data.selection import Selection
from fer_lab.data.source import Face, Source
from fer_lab.errors import FerLabError, LeftOut
from fer_lab.labels import VOCABULARY, class_order


@dataclass(kw_only=True)
class ConcatSource(Source):
    """The faces of several sources in one size, colour mode and vocabulary.

    Each source keeps its own label map and its own split; one without a split is split as the selection says. A face's
    column `source` names where it is from, its id and subject are prefixed with that name, and equal pixels form one
    group whatever source they are from.

    Attributes:
        sources: by name.
        classes: `all` of any source, the `shared` ones of every source, or a list; other faces are left out, counted.
        label_maps: {source: {emotion: emotion}}, None to leave an emotion's faces out: what a source's emotions count
            as here. Votes follow; those for an emotion that is left out do not count.
        size, channels (grey or rgb): of the faces, which are resized as `fer_lab.data.images.fit` does.
        crop_margin: of all faces; None where the sources agree on one.
        keep_votes: keep vote distributions, a face of a source without raters counts as unanimous; False drops them.

    Raises:
        FerLabError: no sources, a label map of an unknown source or emotion, crop margins that differ, or an option of
            a source that only the whole may set.
    """

    sources: Mapping[str, Source]
    classes: str | Sequence[str] = "all"
    label_maps: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    size: int = 48
    channels: int = 1
    crop_margin: float | None = None  # type: ignore[assignment]
    keep_votes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.channels = CHANNELS.get(self.channels, self.channels)  # type: ignore[call-overload]
        self.sources = {name: source for name, source in self.sources.items() if source is not None}
        if not self.sources:
            raise FerLabError("data.sources is empty; name at least one source.")
        for name, source in self.sources.items():
            _check(name, source)
        self._maps = self._label_maps()
        self.name = "+".join(self.sources)
        self.licence = "; ".join(f"{name}: {source.licence}" for name, source in self.sources.items())
        self.class_names = self._classes()
        margins = {source.crop_margin for source in self.sources.values()}
        if self.crop_margin is None:
            if len(margins) > 1:
                differ = ", ".join(f"{margin:g}" for margin in sorted(margins))
                raise FerLabError(
                    f"The sources' crop margins differ ({differ}); state the one that live crops are to have with "
                    "data.crop_margin=."
                )
            self.crop_margin = margins.pop()

    def settings(self) -> dict[str, Any]:
        unused = ("sources",) if self.label_maps else ("sources", "label_maps")
        return {key: value for key, value in super().settings().items() if key not in unused}

    def stat_key(self) -> str:
        return self._key({name: source.stat_key() for name, source in self.sources.items()})

    def content_key(self) -> str:
        return self._key({name: source.content_key() for name, source in self.sources.items()})

    def expected(self) -> int | None:
        counts = [source.expected() for source in self.sources.values()]
        return None if None in counts else sum(count for count in counts if count is not None)

    def read(self) -> Iterator[Face | FerLabError]:
        for name, source in self.sources.items():
            for face in source.read():
                yield face if isinstance(face, FerLabError) else self._adopted(name, source, face)

    def notes(self) -> list[str]:
        return [f"{name}: {note}" for name, source in self.sources.items() for note in source.notes()]

    def _adopted(self, name: str, source: Source, face: Face) -> Face | FerLabError:
        emotion = self._maps[name][face.emotion]
        if emotion is None:
            return LeftOut("other-class", f"{face.where}: left out, data.label_maps.{name} leaves {face.emotion} out.")
        if emotion not in self.class_names:
            return LeftOut("other-class", f"{face.where}: left out, {emotion} is not in data.classes.")
        columns = {**face.columns, "source": name}
        if columns.get("subject"):
            columns["subject"] = f"{name}/{columns['subject']}"
        return replace(
            face,
            sample_id=f"{name}/{face.sample_id}",
            emotion=emotion,
            image=fit(face.image, self.size, self.channels),
            votes=self._votes(name, source, face, emotion) if self.keep_votes else None,
            columns=columns,
        )

    def _votes(self, name: str, source: Source, face: Face, emotion: str) -> np.ndarray:
        """float32 K over the merged classes; votes for classes that are left out do not count."""
        if face.votes is None:
            return np.array([known == emotion for known in self.class_names], np.float32)
        votes = np.zeros(len(self.class_names), np.float32)
        for theirs, share in zip(source.class_names, face.votes, strict=True):
            if (ours := self._maps[name][theirs]) in self.class_names:
                votes[self.class_names.index(ours)] += share
        return votes / votes.sum()

    def _label_maps(self) -> dict[str, dict[str, str | None]]:
        """What each source's emotions count as; as they are where `label_maps` does not say."""
        if unknown := set(self.label_maps) - set(self.sources):
            raise FerLabError(f"data.label_maps.{min(unknown)} is no source; there are {', '.join(self.sources)}.")
        maps: dict[str, dict[str, str | None]] = {}
        for name, source in self.sources.items():
            own = self.label_maps.get(name) or {}
            if absent := set(own) - set(source.class_names):
                raise FerLabError(
                    f"data.label_maps.{name}: {min(absent)} is none of its emotions, {', '.join(source.class_names)}."
                )
            maps[name] = {**{emotion: emotion for emotion in source.class_names}, **own}
            if strange := {str(to) for to in own.values() if to not in (*VOCABULARY, None)}:
                known = ", ".join(VOCABULARY)
                raise FerLabError(f"data.label_maps.{name} leads to {min(strange)}; use {known}, or null to leave out.")
        return maps

    def _classes(self) -> tuple[str, ...]:
        of_each = [{emotion for emotion in of.values() if emotion} for of in self._maps.values()]
        known = {name for names in of_each for name in names}
        if isinstance(self.classes, str):
            if self.classes not in ("all", "shared"):
                raise FerLabError(f"data.classes={self.classes} is unknown; use all, shared, or a list of emotions.")
            chosen = known if self.classes == "all" else set.intersection(*of_each)
        else:
            chosen = set(self.classes)
            if absent := chosen - known:
                raise FerLabError(f"data.classes asks for {min(absent)}, which none of {', '.join(self.sources)} has.")
        if len(chosen) < 2:
            raise FerLabError(f"{', '.join(self.sources)} have {len(chosen)} classes in common; two are needed.")
        return class_order(chosen)

    def _key(self, keys: Mapping[str, str]) -> str:
        parts = [type(self).__name__, self.settings(), self.selection_key(), keys]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _check(name: str, source: Source) -> None:
    """Refuse what would have no effect: the selection is made of all faces together."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise FerLabError(f"data.sources.{name}: use letters, digits, '.', '-' and '_' for a source's name.")
    unset = vars(Selection())
    for option in fields(Selection):
        value = getattr(source, option.name)
        if value != unset[option.name] and not (option.name == "group_by" and list(value) == list(unset["group_by"])):
            raise FerLabError(
                f"data.sources.{name}.{option.name}={value} has no effect on a part; set data.{option.name} instead."
            )
