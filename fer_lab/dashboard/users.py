"""`python -m fer_lab.dashboard.users`: accounts from the terminal, where no admin can sign in or many are to be made.

Passwords are asked for, or read as lines from a pipe; never given as words of the command, which other accounts of the
machine could read.
"""

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_lab.dashboard import require_extra
from fer_lab.errors import FerLabError

if TYPE_CHECKING:  # it needs the live extra
    from fer_lab.live.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit code 0, or 1 after one sentence that says what is wrong."""
    try:
        require_extra()
        from fer_lab.live.store import open_store

        words = _parser().parse_args(arguments)
        if "://" not in words.store and not Path(words.store).is_file():
            raise FerLabError(f"{words.store} is no store: give the file that a lesson wrote, or a database's URL.")
        _run(open_store(words.store), words)
    except FerLabError as error:
        print(f"fer-lab dashboard.users: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    from fer_lab.dashboard import accounts

    parser = argparse.ArgumentParser(prog="python -m fer_lab.dashboard.users", description=__doc__)
    parser.add_argument("store", help="the store's file, or a database's URL")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, roles and classes")
    for name, text in (("add", "make an account"), ("change", "give another role or other classes")):
        command = commands.add_parser(name, help=text)
        command.add_argument("name")
        command.add_argument("--role", choices=accounts.ROLES, required=name == "add")
        command.add_argument("--class", dest="classes", action="append", help="a teacher's class; may be repeated")
    for name, text in (("password", "set a new password"), ("remove", "delete an account")):
        commands.add_parser(name, help=text).add_argument("name")
    return parser


def _run(store: "Store", words: argparse.Namespace) -> None:
    from fer_lab.dashboard import accounts

    match words.command:
        case "list":
            for user in accounts.users(store):
                print(f"{user.name}\t{user.role}\t{', '.join(user.classes)}")
            return
        case "add":
            accounts.add_user(store, words.name, _password(), words.role, words.classes or ())
        case "change":
            accounts.change_user(store, words.name, role=words.role, classes=words.classes)
        case "password":
            accounts.change_user(store, words.name, password=_password())
        case "remove":
            accounts.remove_user(store, words.name)
    accounts.note(store, "(terminal)", f"{words.command} user {words.name}")


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise FerLabError("The two passwords differ.")
    return password


if __name__ == "__main__":
    sys.exit(main())
