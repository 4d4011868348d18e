"""Why a command line does not compose, in one sentence: which word is wrong, and what was probably meant."""

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from fer_lab.cli.completion import conf_dir, leaves
from fer_lab.errors import FerLabError

#: What Hydra and OmegaConf raise about a config.
REFUSED = (HydraException, OmegaConfBaseException)


def in_words(error: Exception, command: str) -> str:
    """One sentence for what Hydra or OmegaConf say about a config of `command`, with the closest known word."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, chosen = error.missing_cfg_file.rpartition("/")
        return unknown_choice(group, chosen, [name for name in error.options or () if not name.startswith("_")])
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        quoted = f"quote what holds blanks, brackets or commas: '{key}=\"{value}\"'"
        remedy = quoted if equals else "write <key>=<value>"
        return f"{error.override}: {text.splitlines()[0].strip()}; {remedy}."
    if unknown := re.match(r"Could not override '([^']+)'", text):
        return unknown_key(unknown[1], command)
    if several := re.match(r"Ambiguous value for argument '(.+)'", text):
        return f"{several[1]} are several values; add -m to run each, or put a list in [ ]."
    said = str(error.__cause__ or text)
    first = re.sub(r"^\w+ raised while resolving interpolation: ", "", said.splitlines()[0]).strip()
    key = next(iter(re.findall(r"full_key: (\S+)", said)), "")
    return first if not key or key in first else f"{key}: {first}"


def unknown_key(key: str, command: str) -> str:
    """The sentence for a key that the composed config does not have: it belongs to another choice, or is misspelt."""
    choices = _keys(command)
    if others := sorted(choices.get(key, ())):
        return f"There is no key {key} here: it belongs to {', '.join(others)}; choose {'one' if others[1:] else 'it'}."
    parent, _, last = key.rpartition(".")
    beside = {known.rpartition(".")[2]: known for known in choices if known.rpartition(".")[0] == parent}
    if close := difflib.get_close_matches(last, beside, n=1):
        meant = beside[close[0]]
    else:
        meant = next(iter(difflib.get_close_matches(key, choices, n=1)), "")
    if meant:
        return f"There is no key {key}; did you mean {meant}?"
    return f"There is no key {key}; --help lists all, and +{key}=... adds one that a component takes."


def unknown_choice(group: str, chosen: str, known: Iterable[str]) -> str:
    """The sentence for a choice of a group that has no file; `known` are those that have one."""
    close = difflib.get_close_matches(chosen, list(known), n=1)
    many = ", ".join(known) if group not in ("experiment", "sweep") else ""
    remedy = f"did you mean {group}={close[0]}?" if close else f"{group}= may be {many or 'what --help lists'}."
    return f"There is no conf/{group}/{chosen}.yaml; {remedy}"


def refuse_unknown(runtime: Any) -> None:
    """Refuse choices that Hydra would take: a row or table without a file, both being optional, under whose name the
    defaults would run; and files that begin with `_`, which others of their group share.

    Args:
        runtime: `hydra.runtime` of the composed config.

    Raises:
        FerLabError: with what was probably meant.
    """
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    for group, chosen in runtime.choices.items():
        if str(chosen).startswith("_"):
            options = sorted({file.stem for folder in folders for file in (folder / group).glob("[!_]*.yaml")})
            shown = f"take one of {', '.join(options)}" if len(options) < 20 else "--help lists what can"
            raise FerLabError(f"{group}={chosen} is what files of conf/{group} share and cannot be chosen; {shown}.")
    for group in ("experiment", "sweep"):
        chosen = runtime.choices.get(group)
        if chosen and not any((folder / group / f"{chosen}.yaml").exists() for folder in folders):
            known = [file.stem for folder in folders for file in (folder / group).glob("[!_]*.yaml")]
            raise FerLabError(unknown_choice(group, chosen, known))


@contextmanager
def hydras_errors() -> Iterator[None]:
    """Let Hydra raise what it would otherwise print, with a hint at stack traces, before it ends the process."""
    name = "HYDRA_FULL_ERROR"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _keys(command: str) -> dict[str, set[str]]:
    """Every dotted key, and every group, of a command with the choices that have it (none for root keys)."""
    conf = conf_dir()
    keys: dict[str, set[str]] = defaultdict(set)
    for file in (conf / "config.yaml", conf / f"{command}.yaml"):
        for key in leaves(file):
            for known in _with_parents(key):
                keys[known] |= set()
    for file in conf.rglob("*/*.yaml"):
        group = file.parent.relative_to(conf).as_posix()
        owner = set() if file.stem.startswith("_") else {f"{group}={file.stem}"}
        keys[group] |= set()
        for key in leaves(file):
            for known in _with_parents(key):
                keys[f"{group.replace('/', '.')}.{known}"] |= owner
    return {key: found for key, found in keys.items() if not key.startswith("hydra.")}


def _with_parents(key: str) -> Iterator[str]:
    parts = key.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))
