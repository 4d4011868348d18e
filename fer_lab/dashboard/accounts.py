"""Users, passwords and logins, kept in the store."""

import hashlib
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from fer_lab.errors import FerLabError
from fer_lab.live.store import Store
from fer_lab.live.store_tables import Access, User, WebSession

ROLES = ("admin", "teacher", "researcher")
#: Least characters of a password; the most keep a login cheap.
SHORTEST, LONGEST = 12, 256
_NAME = re.compile(r"[\w.@-]{1,64}")
_HASHER = PasswordHasher()  # argon2id with the parameters of RFC 9106, second recommendation
_TURNS = threading.Semaphore(2)  # each hash takes 64 MB
_NOBODY = _HASHER.hash(secrets.token_hex())  # checked where there is no such user, so that time does not tell


@dataclass(frozen=True)
class Login:
    """Who asks. csrf: the token that this login's forms carry."""

    name: str
    role: str
    classes: tuple[str, ...]
    csrf: str


def _checked(name: str, role: str) -> None:
    if not _NAME.fullmatch(name):
        raise FerLabError(f"'{name[:64]}' is no user name: take 1 to 64 letters, digits and any of . _ @ -")
    if role not in ROLES:
        raise FerLabError(f"'{role[:64]}' is no role: take one of {', '.join(ROLES)}.")


def hashed(password: str) -> str:
    """Argon2id hash with its salt and parameters.

    Raises:
        FerLabError: the password is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise FerLabError(f"A password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}.")
    with _TURNS:
        return _HASHER.hash(password)


def users(store: Store) -> list[User]:
    """All users by name."""
    with store.reading() as session:
        return list(session.scalars(select(User).order_by(User.name)))


def add_user(
    store: Store, name: str, password: str, role: str, classes: Sequence[str] = (), first: bool = False
) -> None:
    """A new account.

    Raises:
        FerLabError: the name is taken or misshapen, the role unknown, the password too short; or there is an account
            already and this had to be the `first`.
    """
    _checked(name, role)
    user = User(name=name, password_hash=hashed(password), role=role, classes=_sorted(classes))
    with store.writing(alone=True) as session:
        if first and session.scalar(select(func.count()).select_from(User)):
            raise FerLabError("The first account exists already: sign in with it.")
        if session.get(User, name):
            raise FerLabError(f"There is a user '{name}' already: choose another name.")
        session.add(user)


def change_user(
    store: Store,
    name: str,
    *,
    role: str | None = None,
    classes: Sequence[str] | None = None,
    password: str | None = None,
) -> None:
    """Change what is given, and end the user's logins.

    Raises:
        FerLabError: there is no such user, or a value does not fit, or the last admin would be gone.
    """
    _checked(name, role or ROLES[0])
    password_hash = None if password is None else hashed(password)
    with store.writing(alone=True) as session:
        user = session.get(User, name)
        if user is None:
            raise FerLabError(f"There is no user '{name}'.")
        if role is not None and role != user.role:
            _keep_an_admin(session, user)
            user.role = role
        if classes is not None:
            user.classes = _sorted(classes)
        if password_hash is not None:
            user.password_hash = password_hash
        session.execute(delete(WebSession).where(WebSession.user == name))


def remove_user(store: Store, name: str) -> None:
    """Delete an account and its logins; its log entries stay.

    Raises:
        FerLabError: there is no such user, or it is the last admin.
    """
    with store.writing(alone=True) as session:
        user = session.get(User, name)
        if user is None:
            raise FerLabError(f"There is no user '{name[:64]}'.")
        _keep_an_admin(session, user)
        session.execute(delete(WebSession).where(WebSession.user == name))
        session.delete(user)


def _keep_an_admin(session: Session, user: User) -> None:
    others = select(func.count()).select_from(User).where(User.role == "admin", User.name != user.name)
    if user.role == "admin" and not session.scalar(others):
        raise FerLabError(f"'{user.name}' is the last admin: make another one first.")


def _sorted(classes: Sequence[str]) -> list[str]:
    return sorted({name.strip() for name in classes if name.strip()})


def password_fits(store: Store, name: str, password: str) -> bool:
    """Whether the password is this user's; takes as long where there is no such user."""
    with store.reading() as session:
        user = session.get(User, name)
    try:
        with _TURNS:
            return _HASHER.verify(user.password_hash if user else _NOBODY, password[: LONGEST + 1]) and user is not None
    except (VerificationError, InvalidHashError):
        return False


def log_in(store: Store, name: str, hours: float) -> str:
    """Open a login for a user whose password fitted; the token for the cookie. Old logins are swept out."""
    token, now = secrets.token_urlsafe(32), datetime.now(UTC)
    with store.writing() as session:
        session.execute(delete(WebSession).where(WebSession.expires < now))
        session.add(
            WebSession(
                token_hash=_digest(token),
                user=name,
                csrf=secrets.token_urlsafe(32),
                created=now,
                seen=now,
                expires=now + timedelta(hours=hours),
            )
        )
    return token


def log_out(store: Store, token: str) -> None:
    with store.writing() as session:
        session.execute(delete(WebSession).where(WebSession.token_hash == _digest(token)))


def logged_in(store: Store, token: str | None, idle_minutes: float, click: bool = True) -> Login | None:
    """Whose cookie this is, unless the login is over.

    Args:
        click: counts as use (noted once a minute), unlike a page that refreshes itself.
    """
    if not token:
        return None
    now = datetime.now(UTC)
    with store.reading() as session:
        found = session.get(WebSession, _digest(token))
        user = found and session.get(User, found.user)
    if found is None or user is None or now >= found.expires or now - found.seen >= timedelta(minutes=idle_minutes):
        return None
    if click and now - found.seen > timedelta(minutes=1):
        with store.writing() as session:
            if (row := session.get(WebSession, found.token_hash)) is not None:
                row.seen = now
    return Login(user.name, user.role, tuple(user.classes), found.csrf)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def note(store: Store, user: str, action: str, lesson_id: int | None = None) -> None:
    """Write who did what into the access log."""
    with store.writing() as session:
        session.add(Access(when=datetime.now(UTC), user=user, action=action, lesson_id=lesson_id))


def noted(store: Store, before: int | None = None, limit: int = 200) -> list[Access]:
    """Log entries older than the entry `before`, the newest first."""
    query = select(Access).order_by(Access.id.desc()).limit(limit)
    with store.reading() as session:
        return list(session.scalars(query if before is None else query.where(Access.id < before)))
