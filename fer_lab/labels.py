"""The emotion vocabulary and the label maps of the data sets people have, always by class NAME.

Indices mean different emotions in different releases (FER2013's csv puts happy third, its folder release sorts
alphabetically, FER+ starts with neutral), so an index is only ever read through the map of the release it came from.
"""

from collections.abc import Iterable, Mapping, Sequence

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
    "contemptuous": CONTEMPT,
}

#: Names (or the release's own indices, as strings) to emotions, a map for each release. An index never names its
#: emotion by itself: 3 is happy in FER2013's csv, disgust in RAF-DB and surprise in AffectNet.
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
    "raf_db": {  # Li, Deng and Du 2017: list_patition_label.txt, and folders 1 to 7
        "1": "surprise",
        "2": "fear",
        "3": "disgust",
        "4": "happy",
        "5": "sad",
        "6": "angry",
        "7": "neutral",
    },
    "affectnet": {  # Mollahosseini, Hasani and Mahoor 2017
        "0": "neutral",
        "1": "happy",
        "2": "sad",
        "3": "surprise",
        "4": "fear",
        "5": "disgust",
        "6": "angry",
        "7": CONTEMPT,
    },
    "any": _SPELLINGS,
}
#: What releases also label but is no emotion: such images are left out, and counted.
NO_EMOTION: dict[str, tuple[str, ...]] = {"affectnet": ("8", "9", "10")}  # none, uncertain, no face


#: A key of :data:`LABEL_MAPS`, or a map of one's own from a source's names to emotions, null for those to leave out.
LabelMap = str | Mapping[str, str | None]


def to_emotion(name: object, label_map: str = "any", where: str = "") -> str:
    """Translate a release's class name into the vocabulary.

    Args:
        name: the class as the release writes it; case and surrounding blanks do not matter.
        label_map: a key of :data:`LABEL_MAPS`.
        where: file and row, for the error message.

    Raises:
        FerLabError: the map or the class is unknown, or the class is no emotion; the known ones are listed. A bare
            index is refused by the maps of names, since its meaning depends on the release.
    """
    known = {name: emotion for name, emotion in names_of(label_map).items() if emotion is not None}
    key = _normal(name)
    if key in known:
        return known[key]
    place = f" in {where}" if where else ""
    unnamed = key.isdigit() and not any(name.isdigit() for name in known)
    hint = " (an unnamed index says nothing about its emotion: name the class)" if unnamed else ""
    raise FerLabError(f"Unknown class '{name}'{place}{hint}; '{label_map}' knows: {', '.join(known)}.")


def names_of(label_map: LabelMap) -> dict[str, str | None]:
    """A label map as a dict from normalised names (lower case, no surrounding blanks) to emotions; None: to leave out.

    A map of one's own is added to the spellings of `any`, whose names it may give another meaning.

    Raises:
        FerLabError: the map is unknown, or leads out of the vocabulary.
    """
    if isinstance(label_map, str):
        if label_map not in LABEL_MAPS:
            raise FerLabError(f"Unknown label map '{label_map}'; known: {', '.join(LABEL_MAPS)}.")
        return {**LABEL_MAPS[label_map], **dict.fromkeys(NO_EMOTION.get(label_map, ()))}
    if not isinstance(label_map, Mapping):
        raise FerLabError(f"The label map '{label_map}' is unknown; give a name or {{class: emotion}}.")
    own: dict[str, str | None] = {}
    for name, emotion in label_map.items():
        if emotion is not None and emotion not in VOCABULARY:
            raise FerLabError(f"The label map sends '{name}' to '{emotion}'; known: {', '.join(VOCABULARY)}, or null.")
        own[_normal(name)] = emotion
    return {**_SPELLINGS, **own}


def _normal(name: object) -> str:
    return str(name).strip().lower()


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
