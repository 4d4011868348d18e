"""Shell completion of `fer-lab`: commands, config groups and their choices, config keys, paths.

Hydra's own completion composes the config at every key press and knows no sub-commands. This one lists conf/ and reads
YAML keys, without Hydra or torch, in well under 0.3 s. The scripts call `fer-lab __complete <words> <current word>`,
which prints one candidate a line; a candidate that ends in `=`, `.` or `/` is to be typed on, so no blank follows it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import yaml

# bash splits the line at `=`, so the words are glued before the call, and a candidate loses what bash holds already
_BASH = """\
# eval "$(fer-lab completion bash)"
_fer_lab() {
    local -a words=()
    local piece= glued= candidate i
    for ((i = 1; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        if [[ ( $piece == "=" || -n $glued ) && ${#words[@]} -gt 0 ]]; then
            words[${#words[@]}-1]+=$piece
        else
            words+=("$piece")
        fi
        [[ $piece == "=" ]] && glued=1 || glued=
    done
    local current=${words[${#words[@]}-1]}
    local held=${current%"$piece"}
    [[ $piece == "=" ]] && held=$current
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n $candidate ]] && COMPREPLY+=("${candidate#"$held"}")
    done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
    return 0
}
complete -F _fer_lab fer-lab
"""
_ZSH = """\
#compdef fer-lab
# after compinit: eval "$(fer-lab completion zsh)"
_fer_lab() {
    local -a candidates open closed
    candidates=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    open=(${(M)candidates:#*[=./]})
    closed=(${candidates:#*[=./]})
    compadd -Q -S '' -- $open
    compadd -Q -- $closed
}
compdef _fer_lab fer-lab
"""
_FISH = """\
# fer-lab completion fish | source
function __fer_lab_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    $words[1] __complete $words[2..] "$current" 2>/dev/null
end
complete -c fer-lab -f -a '(__fer_lab_complete)'
"""
#: Completion script of each shell.
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_FLAGS = ("--help", "--multirun", "--cfg", "--resolve", "--info")
_PATH_KEY = re.compile(r"(run|model|source|report|paths\..+|.+\.(path|weights|\w+_dir))")


def conf_dir() -> Path:
    """Folder of the configs, the same as `fer_lab.schema.CONF_DIR` without importing Hydra (0.4 s)."""
    here = Path(__file__).resolve().parents[1]
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def complete(words: Sequence[str], commands: Iterable[str], conf: Path) -> list[str]:
    """Candidates for the last word.

    Args:
        words: the words after `fer-lab`; the last one is being typed and may be empty.
        commands: the sub-commands.
        conf: folder of the configs.

    Returns:
        Whole words that begin with the last one, sorted.
    """
    *before, current = words or [""]
    if not before:
        candidates: Iterable[str] = [*commands, "completion", "--help", "--version"]
        if not current:
            candidates = [*commands, "completion"]
    elif before[0] == "completion":
        candidates = SCRIPTS if len(before) == 1 else ()
    elif before[0] in commands:
        candidates = _overrides(before[0], current, conf)
    else:
        candidates = ()
    return sorted({candidate for candidate in candidates if candidate.startswith(current)})


def _overrides(command: str, current: str, conf: Path) -> Iterator[str]:
    """Hydra overrides that go on from `current`: `group=choice`, `group=choice,choice`, `key.key=`, `run=folder/`."""
    if current.startswith("-"):
        yield from _FLAGS
        yield from ("--dry",) if command == "train" else ()
        return
    groups = {file.parent.relative_to(conf).as_posix() for file in conf.rglob("*/*.yaml")}
    sign, key, equals, value = re.fullmatch(r"([+~]*)([^=]*)(=?)(.*)", current, re.DOTALL).groups()  # type: ignore[union-attr]
    if equals:
        chosen, comma, last = value.rpartition(",")
        choices = sorted(file.stem for file in (conf / key).glob("[!_]*.yaml")) if key in groups else _paths(key, last)
        for choice in choices:
            yield f"{sign}{key}={chosen}{comma}{choice}"
        return
    yield from (f"{sign}{group}=" for group in groups)
    level = key.rpartition(".")[0]
    for known in _keys(command, key, groups, conf):
        if known.startswith(key):
            component, more, _ = known[len(level) + 1 if level else 0 :].partition(".")
            yield f"{sign}{level}{'.' if level else ''}{component}{more or '='}"


def _keys(command: str, prefix: str, groups: Iterable[str], conf: Path) -> Iterator[str]:
    """Dotted config keys: those of the root, and those of every choice of the groups that `prefix` can still mean."""
    for file in (conf / "config.yaml", conf / f"{command}.yaml"):
        yield from (key for key in leaves(file) if not key.startswith("hydra."))
    for group in groups:
        node = group.replace("/", ".")  # hydra/launcher=ray, but hydra.launcher.ray.init.address=auto
        if node.startswith(prefix) or prefix.startswith(f"{node}."):
            for file in (conf / group).glob("*.yaml"):
                yield from (f"{node}.{key}" for key in leaves(file))


def leaves(file: Path) -> list[str]:
    """Dotted keys of a YAML file; none where it is being edited or spreads over the root, as rows and sweeps do."""
    text = file.read_text() if file.is_file() else ""
    if "@package _global_" in text:
        return []
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return []
    return list(_dotted(content)) if isinstance(content, dict) else []


def _dotted(node: dict) -> Iterator[str]:
    for key, child in node.items():
        if key == "defaults" or str(key).startswith("_"):
            continue
        if isinstance(child, dict) and child:
            yield from (f"{key}.{rest}" for rest in _dotted(child))
        else:
            yield str(key)


def _paths(key: str, typed: str) -> Iterator[str]:
    """Files and folders that go on from what is typed, for a key that takes a path."""
    if not _PATH_KEY.fullmatch(key):
        return
    folder, slash, name = typed.rpartition("/")
    parent = Path(folder + slash).expanduser() if slash else Path()
    for entry in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not entry.name.startswith(".") or name.startswith("."):
            yield f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"


def option_groups() -> str:
    """What `--help` lists of conf/: a line a group with its choices, without the files that choices share."""
    options: dict[str, list[str]] = defaultdict(list)
    for file in sorted(conf_dir().rglob("*/*.yaml")):
        group = file.parent.relative_to(conf_dir()).as_posix()
        if not file.stem.startswith("_"):
            options[group].append(file.stem)
    return "\n".join(f"{group}: {', '.join(found)}" for group, found in sorted(options.items()))
