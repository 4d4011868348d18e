"""The `fer-lab` console script: dispatch, refusals, and completion as each shell sees it."""

import os
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fer_lab import cli, schema
from fer_lab.cli.completion import SCRIPTS, complete, conf_dir
from fer_lab.errors import FerLabError

ROOT = Path(__file__).resolve().parents[1]
FER_LAB = [sys.executable, "-m", "fer_lab.cli"]


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*command], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **options)


def test_every_command_is_a_module_and_every_entry_point_a_command():
    # an entry point is a module of the package itself, or a room's __main__, that runs its main; cli is no command
    package = ROOT / "fer_lab"
    sources = {path: path.read_text() for path in (*package.glob("*.py"), *package.glob("*/__main__.py"))}
    runnable = {path for path, text in sources.items() if 'if __name__ == "__main__"' in text}
    names = {path.parent.name if path.name == "__main__.py" else path.stem for path in runnable}
    assert names == set(cli.COMMANDS)


def test_a_command_runs_as_the_main_of_its_module_with_the_remaining_words(monkeypatch):
    calls = []
    monkeypatch.setattr(sys, "argv", ["fer-lab"])
    monkeypatch.setattr(runpy, "run_module", lambda name, **how: calls.append((name, sys.argv[1:], how)))
    assert cli.main(["train", "loss=focal", "seed=1"]) == 0
    assert calls == [("fer_lab.train", ["loss=focal", "seed=1"], {"run_name": "__main__", "alter_sys": True})]


def test_help_names_each_command_once_and_starts_without_hydra_or_torch():
    heavy = "import sys; from fer_lab.cli import main; main(['--help']); main(['__complete', 'train', 'l']); "
    heavy += "print(sorted({'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)))"
    result = run(sys.executable, "-c", heavy)
    assert result.returncode == 0, result.stderr
    for command, purpose in cli.COMMANDS.items():
        assert f"  {command:<12}{purpose}\n" in result.stdout
    assert result.stdout.endswith("\n[]\n")


def test_a_command_s_own_help_is_that_of_python_m(tmp_path):
    starts = ([*FER_LAB, "tables"], [*FER_LAB[:2], "fer_lab.tables"])
    with ThreadPoolExecutor() as pool:  # at once: each takes seconds to start
        ours, modules = pool.map(lambda start: run(*start, "--help", cwd=tmp_path), starts)
    assert modules.returncode == 0, modules.stderr
    assert "seed: 0" in ours.stdout
    assert ours.stdout == modules.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "there is no command 'trian': did you mean `fer-lab train`?"),
        (["xyzzy"], "there is no command 'xyzzy': `fer-lab --help` lists them all."),
        (["completion"], "completion needs a shell, bash, zsh, fish, as in `fer-lab completion bash`."),
        (["completion", "tcsh"], "completion needs a shell, bash, zsh, fish, as in `fer-lab completion bash`."),
    ],
)
def test_a_word_that_means_nothing_is_refused_in_one_sentence(words, sentence, capsys):
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"fer-lab: {sentence}\n")


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "fer_lab 0.1.0\n"


@pytest.fixture(scope="module")
def conf(tmp_path_factory) -> Path:
    """A small conf/: two groups, a row, a sweep, and a file that is being edited."""
    folder = tmp_path_factory.mktemp("conf")
    for name, text in {
        "config.yaml": "defaults: [loss: focal]\nseed: 0\nrun: null\npaths: {outputs: x, run: y}\nhydra: {a: 1}\n",
        "train.yaml": "defaults: [config]\nrerun: no\n",
        "loss/focal.yaml": "_target_: x.Focal\ngamma: 2.0\n",
        "loss/cross_entropy.yaml": "_target_: x.CrossEntropy\nlabel_smoothing: 0.0\n",
        "augment/moderate.yaml": "steps:\n  flip: {p: 0.5}\n  gamma: {p: 0.3, limit: [1, 2]}\n",
        "augment/half_typed.yaml": "steps: [\n",
        "experiment/demo_focal.yaml": "# @package _global_\nrow_key: 1\n",
        "experiment/demo_ce.yaml": "# @package _global_\n",
        "sweep/demo.yaml": "# @package _global_\n",
        "sweep/_rows.yaml": "# @package _global_\n",  # what sweeps share, not one of them
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["t"], "tables train"),
        (["--"], "--help --version"),
        (["completion", ""], "bash fish zsh"),
        (["nothing", ""], ""),
        (["train", ""], "augment. augment= experiment= loss. loss= paths. rerun= run= seed= sweep="),
        (["tables", "re"], ""),  # rerun is a key of train.yaml here
        (["train", "lo"], "loss. loss="),
        (["train", "loss=f"], "loss=focal"),
        (["train", "-m", "loss="], "loss=cross_entropy loss=focal"),
        (["train", "loss=focal,c"], "loss=focal,cross_entropy"),
        (["train", "+loss=f"], "+loss=focal"),
        (["train", "loss.g"], "loss.gamma="),
        (["train", "paths."], "paths.outputs= paths.run="),
        (["train", "augment.steps."], "augment.steps.flip. augment.steps.gamma."),
        (["train", "augment.steps.gamma."], "augment.steps.gamma.limit= augment.steps.gamma.p="),
        (["train", "experiment=demo_f"], "experiment=demo_focal"),
        (["tables", "sweep="], "sweep=demo"),
        (["train", "seed="], ""),
        (["train", "--m"], "--multirun"),
    ],
)
def test_completion(words, candidates, conf):
    assert complete(words, cli.COMMANDS, conf) == candidates.split()


def test_completion_of_a_path(conf, tmp_path, monkeypatch):
    (tmp_path / "outputs" / "demo_ce").mkdir(parents=True)
    (tmp_path / "outputs" / ".multirun").mkdir()
    (tmp_path / "outputs" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert complete(["export", "run=out"], cli.COMMANDS, conf) == ["run=outputs/"]
    assert complete(["export", "run=outputs/"], cli.COMMANDS, conf) == ["run=outputs/demo_ce/", "run=outputs/notes.txt"]
    assert complete(["train", f"data.path={tmp_path}/outputs/d"], cli.COMMANDS, conf) == [
        f"data.path={tmp_path}/outputs/demo_ce/"
    ]
    assert complete(["train", "run=no_such_folder/"], cli.COMMANDS, conf) == []


def test_completion_reads_the_folder_that_commands_compose_from():
    assert conf_dir() == schema.CONF_DIR
    assert complete(["train", "loss=foc"], cli.COMMANDS, conf_dir()) == ["loss=focal"]


def shell(name: str, script: str) -> list[str]:
    """Lines that a script prints in a real shell that has `fer-lab` and its completion."""
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    if not (Path(sys.executable).parent / "fer-lab").exists():
        pytest.skip("fer_lab is not installed into this environment")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[name]
    result = run(name, *options, "-c", script, env=os.environ | {"PATH": path}, cwd=ROOT)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        (["tra"], ["train"]),
        (["train", "loss", "=", "foc"], ["focal"]),  # bash splits at "=", and replaces only what follows it
        (["train", "loss", "="], ["cross_entropy", "focal", "label_smoothing", "soft_label"]),
        (["train", "-m", "loss", "=", "focal,cross"], ["focal,cross_entropy"]),
        (["train", "loss", "=", "focal", "see"], ["seed="]),
        (["train", "loss=foc"], ["loss=focal"]),  # where "=" is no break of words
    ],
)
def test_bash_completes(words, replies):
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"source <(fer-lab completion bash); COMP_WORDS=(fer-lab {quoted}); COMP_CWORD={len(words)}; _fer_lab; "
    assert shell("bash", script + 'printf "%s\\n" "${COMPREPLY[@]}"') == replies


def test_bash_calls_the_function_for_fer_lab():
    printed = shell("bash", 'eval "$(fer-lab completion bash)"; complete -p fer-lab')
    assert printed == ["complete", "-F", "_fer_lab", "fer-lab"]


def test_fish_completes():
    script = 'fer-lab completion fish | source; complete -C "fer-lab tra"; complete -C "fer-lab train loss=foc"'
    assert shell("fish", script) == ["train", "loss=focal"]


def test_zsh_completes():
    # compdef and compadd exist only inside zsh's line editor: stand-ins print what they are handed
    script = 'compdef() {}; compadd() { print -r -- "$@" }; eval "$(fer-lab completion zsh)"; '
    script += "words=(fer-lab train loss=foc); CURRENT=3; _fer_lab; words=(fer-lab train see); _fer_lab"
    printed = "-Q -S -- | -Q -- loss=focal | -Q -S -- seed= | -Q --"
    assert shell("zsh", script) == [word for word in printed.split() if word != "|"]


def test_scripts_exist_for_the_shells_that_help_names(capsys):
    for name, script in SCRIPTS.items():
        assert cli.main(["completion", name]) == 0
        assert capsys.readouterr().out == script


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("data.path=~/a b.csv", "data.path=/home/ada/a b.csv"),
        ("+data.sources.a.path=~/a", "+data.sources.a.path=/home/ada/a"),
        ("name=a~/b", "name=a~/b"),
        ("~logger", "~logger"),
        ("--help", "--help"),
    ],
)
def test_a_path_below_home_may_begin_with_a_tilde(typed, read, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert schema._at_home(typed) == read


def test_own_warnings_show_no_code():
    ours = schema._in_a_sentence("two faces skipped", UserWarning, str(ROOT / "fer_lab" / "data" / "cache.py"), 3)
    assert ours == "Warning: two faces skipped\n"
    assert "other.py:3: UserWarning: odd" in schema._in_a_sentence("odd", UserWarning, "/lib/other.py", 3)


@pytest.mark.parametrize(("typed", "meant"), [("experiment=demo_fokal", "demo_focal"), ("sweep=dmeo", "demo")])
def test_a_misspelt_row_or_table_is_refused_and_not_the_defaults_under_its_name(typed, meant):
    with pytest.raises(FerLabError, match=f"did you mean {typed.split('=')[0]}={meant}\\?"):
        schema.compose("train", [typed])
