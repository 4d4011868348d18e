"""The emotion vocabulary and the label maps of the data sets people have, always by class NAME.

Indices mean different emotions in different releases (FER2013's csv puts happy third, its folder release sorts
alphabetically, FER+ starts with neutral), so an index is only ever read through the map of the release it came from.
"""

from collections.abc import Iterable, Sequence

from fer_lab.errors import FerLabError

#: The seven classes of FER2013 in the order of its csv; the order of every logit vector unless contempt is added.
EMOTIONS: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CONTEMPT = "contempt"
VOCABULARY: tuple[str, ...] = (*EMOTIONS, CONTEMPT)

_SPELLINGS: dict[str, str] = {
    **{name: name for name in VOCABULARY},
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}

#: Names (or the release's own indices, as strings) to emotions, a map for each release.
LABEL_MAPS: dict[str, dict[str, str]] = {
    "fer2013_csv": {str(index): name for index, name in enumerate(EMOTIONS)},
    "kaggle_folders": {name: name for name in EMOTIONS},
    "ferplus": {
        "neutral": "neutral",
        "happiness": "happy",
        "surprise": "surprise",
        "sadness": "sad",
        "anger": "angry",
        "disgust": "disgust",
        "fear": "fear",
        "contempt": CONTEMPT,
    },
    "ck_plus": {
        "anger": "angry",
        "contempt": CONTEMPT,
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happy",
        "sadness": "sad",
        "surprise": "surprise",
        "neutral": "neutral",
    },
    "any": _SPELLINGS,
}


def to_emotion(name: object, label_map: str = "any", where: str = "") -> str:
    """Translate a release's class name into the vocabulary.

    Args:
        name: the class as the release writes it; case and surrounding blanks do not matter.
        label_map: a key of :data:`LABEL_MAPS`.
        where: file and row, for the error message.

    Raises:
        FerLabError: the map or the class is unknown; the known ones are listed. A bare index is refused by every
            map but `fer2013_csv`, since its meaning depends on the release.
    """
    if label_map not in LABEL_MAPS:
        raise FerLabError(f"Unknown label map '{label_map}'; known: {', '.join(LABEL_MAPS)}.")
    known = LABEL_MAPS[label_map]
    key = str(name).strip().lower()
    if key in known:
        return known[key]
    place = f" in {where}" if where else ""
    unnamed = key.isdigit() and "0" not in known
    hint = " (an unnamed index says nothing about its emotion: name the class)" if unnamed else ""
    raise FerLabError(f"Unknown class '{name}'{place}{hint}; '{label_map}' knows: {', '.join(known)}.")


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Put emotions into the one order used for logits: FER2013's csv order, then contempt.

    Raises:
        FerLabError: a name is not in the vocabulary.
    """
    present = set(names)
    if unknown := present - set(VOCABULARY):
        raise FerLabError(f"Unknown class '{min(unknown)}'; known: {', '.join(VOCABULARY)}.")
    return tuple(name for name in VOCABULARY if name in present)


def index_of(name: str, class_names: Sequence[str]) -> int:
    """Index of an emotion in a model's class list.

    Raises:
        FerLabError: the model does not know the class.
    """
    if name not in class_names:
        raise FerLabError(f"The class '{name}' is not one of this model's: {', '.join(class_names)}.")
    return list(class_names).index(name)
