"""Console script `fer-lab <command> [overrides]`: the same programs as `python -m fer_lab.<command>`.

Nothing but the standard library is imported here, so that help and completion answer at once; a command's module, and
the torch behind it, is imported when it runs.
"""

import difflib
import runpy
import sys
from collections.abc import Sequence

from fer_lab import __version__
from fer_lab.cli.completion import SCRIPTS, complete, conf_dir

COMMANDS = {
    "train": "train one run, or every row of a table (sweep=<table>)",
    "evaluate": "score a run, an exported file, or a table's exported models, on the test split",
    "tables": "build a table and its HTML report from the records of its runs",
    "export": "write a run's network as ONNX, in full precision and quantised",
    "benchmark": "measure size, load time and latency of a run's exported models",
    "audit": "look for problems in a data set before training on it",
    "live": "recognise expressions in a video or a camera",
    "dashboard": "show lessons as web pages, to those who may see them",
}
EXAMPLES = (
    "fer-lab train experiment=demo_focal seed=1",
    "fer-lab train -m loss=focal,cross_entropy seed=0,1",
    "fer-lab train sweep=demo",
    "fer-lab tables sweep=demo",
    "fer-lab export run=outputs/demo_focal/seed0",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `fer-lab`; those of the process when None.

    Returns:
        Exit code: 0, or 2 for a command that does not exist. A command's own failure raises SystemExit.
    """
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in COMMANDS:
        # exactly what `python -m` does, also for processes that Hydra, Lightning or joblib start again from __main__
        sys.argv = [sys.argv[0], *rest]
        runpy.run_module(f"fer_lab.{command}", run_name="__main__", alter_sys=True)
        return 0
    if command in ("--help", "-h", "help"):
        print(_help())
        return 0
    if command == "--version":
        print(f"fer_lab {__version__}")
        return 0
    if command == "__complete":
        print("\n".join(complete(rest, COMMANDS, conf_dir())))
        return 0
    if command == "completion":
        if len(rest) == 1 and rest[0] in SCRIPTS:
            print(SCRIPTS[rest[0]], end="")
            return 0
        return _refuse(f"completion needs a shell, {', '.join(SCRIPTS)}, as in `fer-lab completion bash`.")
    closest = difflib.get_close_matches(command, [*COMMANDS, "completion"], n=1)
    hint = f"did you mean `fer-lab {closest[0]}`?" if closest else "`fer-lab --help` lists them all."
    return _refuse(f"there is no command '{command}': {hint}")


def _refuse(sentence: str) -> int:
    print(f"fer-lab: {sentence}", file=sys.stderr)
    return 2


def _help() -> str:
    lines = ["usage: fer-lab <command> [overrides]", "", "commands:"]
    lines += [f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items()]
    lines += [f"  {'completion':<12}print the completion script of {', '.join(SCRIPTS)}"]
    lines += ["", "`fer-lab <command> --help` shows a command's config and its choices.", "", "examples:"]
    lines += [f"  {example}" for example in EXAMPLES]
    lines += ["", 'completion now: eval "$(fer-lab completion bash)"; put that line in ~/.bashrc to keep it']
    return "\n".join(lines)
