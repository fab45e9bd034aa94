"""Which hosts may be used with which keys, and what real money needs beside: asked before a start.

Nothing here connects to anything, and no sentence holds a key: of its kind only is spoken.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from alpaca_strategy.errors import CredentialsError, SettingsError

PAPER_URL: Final = "https://paper-api.alpaca.markets"
LIVE_URL: Final = "https://api.alpaca.markets"
_TRADING_HOSTS: Final = {"paper": "paper-api.alpaca.markets", "live": "api.alpaca.markets"}
_DATA_HOSTS: Final = frozenset({"data.alpaca.markets", "stream.data.alpaca.markets"})
#: How long a confirmation may be good for: nobody remembers for longer what they typed.
LONGEST_CONFIRMATION: Final = timedelta(days=366)
_SENTENCE: Final = re.compile(
    r"I trade account (?P<account>\S+) live with limits (?P<limits>\S+) until "
    r"(?P<until>\d{4}-\d{2}-\d{2})\.?"
)
_KINDS: Final = {"SIM": "a simulator's", "PK": "a paper account's", "AK": "a live account's"}


class Mode(StrEnum):
    """With whose money, and whose prices."""

    SIMULATED = "simulated"  # an exchange of our own on this machine
    PAPER = "paper"  # Alpaca's prices, nobody's money
    LIVE = "live"


_KEY_OF_MODE: Final = {Mode.SIMULATED: "SIM", Mode.PAPER: "PK", Mode.LIVE: "AK"}
#: How account numbers begin; a live one has no such sign.
_ACCOUNTS: Final = {Mode.SIMULATED: "SIM", Mode.PAPER: "PA"}


@dataclass(frozen=True, slots=True, repr=False)
class Access:
    """Where a trader is about to go, and with which keys.

    Attributes:
        mode: What it is meant to be.
        trading_url: Root of the trading host; None for Alpaca's own paper host.
        data_urls: Of market data, REST and streams; Alpaca's own need not be named.
        update_urls: Of the trading stream.
        key: Id of the trading key; None without one.
        has_secret: The key's secret is there, too.
        data_key: Id of the key for market data, where it is another.
    """

    mode: Mode
    trading_url: str | None
    data_urls: tuple[str, ...] = ()
    update_urls: tuple[str, ...] = ()
    key: str | None = None
    has_secret: bool = True
    data_key: str | None = None


def check_access(access: Access) -> None:
    """Check that hosts, keys and mode fit together.

    Raises:
        SettingsError: An address is not one of this mode.
        CredentialsError: A key is missing, or of another kind.
    """
    if not access.key or not access.has_secret:
        msg = (
            "Trading at Alpaca needs ALPACA_API_KEY and ALPACA_SECRET_KEY; set both, or use "
            "--simulate for an exchange without money."
        )
        raise CredentialsError(msg)
    own = (access.trading_url,) if access.trading_url is not None else ()
    addresses = [
        *(("trading_url", url) for url in own),
        *(("the trading stream", url) for url in access.update_urls),
        *(("data_url", url) for url in access.data_urls),
    ]
    parts = [(name, url, _split(name, url)) for name, url in addresses]
    loopback = [is_loopback(split.hostname) for _, _, split in parts]
    _check_keys(access, outside=not own or not all(loopback))
    for (name, url, split), near in zip(parts, loopback, strict=True):
        if access.mode is Mode.SIMULATED:
            if not near:
                msg = f"A simulated session stays on this machine, but {name} is {url}; correct it."
                raise SettingsError(msg)
            continue
        if near:
            msg = (
                f"{name} is {url}, which is a simulator on this machine, but the mode is "
                f"{access.mode}; unset it, or use --simulate."
            )
            raise SettingsError(msg)
        _check_alpaca(access.mode, name, url, split)
    if access.mode is Mode.SIMULATED and not own:
        msg = "A simulated session needs the simulator's address as trading_url; it has none."
        raise SettingsError(msg)
    if access.mode is Mode.LIVE and (access.trading_url or "").rstrip("/") != LIVE_URL:
        msg = (
            f"trading.mode is live, but trading_url is not {LIVE_URL}; write it out, or trade on "
            f"paper."
        )
        raise SettingsError(msg)


def check_account(mode: Mode, number: str) -> None:
    """Check that the account that answered is one of this mode.

    Raises:
        SettingsError: It is another kind of account.
    """
    kind = next((m for m, begin in _ACCOUNTS.items() if number.startswith(begin)), Mode.LIVE)
    if kind is not mode:
        msg = (
            f"The account {number} that answered is {kind}, but the mode is {mode}; check "
            f"trading_url and the keys."
        )
        raise SettingsError(msg)


def sentence_to_type(account: str, limits_hash: str, until: date) -> str:
    """Return what a person types as live_confirmation to trade with real money."""
    return f"I trade account {account} live with limits {limits_hash} until {until.isoformat()}"


def check_confirmation(typed: str | None, *, account: str, limits_hash: str, today: date) -> date:
    """Check what was typed, for this account and these limits; return its last day.

    Raises:
        SettingsError: It is missing, of something else, or out of date; says what to type.
    """
    said = _SENTENCE.fullmatch(" ".join((typed or "").split()))
    wanted = sentence_to_type(account, limits_hash, today + timedelta(days=30))
    fault = _fault(said, account, limits_hash, today)
    if said is None or fault is not None:
        msg = (
            f"Live trading is not confirmed: live_confirmation {fault}; to confirm, set it to "
            f'"{wanted}" (the date is your choice, up to {LONGEST_CONFIRMATION.days} days ahead).'
        )
        raise SettingsError(msg)
    return date.fromisoformat(said["until"])


def check_live(
    access: Access, *, confirmation: str | None, account: str, limits_hash: str, today: date
) -> None:
    """Check everything at once, when the account is known; only live needs a confirmation.

    Raises:
        SettingsError: Hosts, account and mode do not fit, or live is not confirmed.
        CredentialsError: A key is missing, or of another kind.
    """
    check_access(access)
    check_account(access.mode, account)
    if access.mode is Mode.LIVE:
        check_confirmation(confirmation, account=account, limits_hash=limits_hash, today=today)


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, by its name alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _split(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https", "ws", "wss"} and bool(parts.hostname)
        if name == "trading_url":  # the version and the page are put behind it
            sound = sound and parts.path in {"", "/"} and not parts.query and not parts.fragment
        if sound and parts.port != 0 and parts.username is None and parts.password is None:
            return parts  # reading the port has checked it
    except ValueError:
        pass
    shown = url.rpartition("@")[2]  # what stands before it may be a password
    msg = f"{name} {shown!r} is no address of a venue; write it as https://host."
    raise SettingsError(msg)


def _check_alpaca(mode: Mode, name: str, url: str, parts: SplitResult) -> None:
    """Check that an address is Alpaca's, encrypted, and of the right side."""
    if parts.scheme not in {"https", "wss"} or parts.port not in {None, 443}:
        msg = f"{name} is {url}, but keys go only over https or wss, on port 443; correct it."
        raise SettingsError(msg)
    if name == "data_url":
        if parts.hostname not in _DATA_HOSTS:
            msg = f"{name} is {url}, which is not a host of Alpaca's data; unset it."
            raise SettingsError(msg)
        return
    if parts.hostname == _TRADING_HOSTS[mode]:
        return
    other = Mode.LIVE if mode is Mode.PAPER else Mode.PAPER
    if parts.hostname == _TRADING_HOSTS[other]:
        msg = f"{name} is {url}, Alpaca's {other} host, but the mode is {mode}; make them agree."
        raise SettingsError(msg)
    msg = f"{name} is {url}, which is no trading host of Alpaca's; unset it."
    raise SettingsError(msg)


def _check_keys(access: Access, *, outside: bool) -> None:
    """Check the kinds of keys by how they begin; an unknown kind is left to the venue."""
    for setting, key in (("ALPACA_API_KEY", access.key), ("ALPACA_DATA_KEY", access.data_key)):
        begin = next((b for b in _KINDS if (key or "").startswith(b)), None)
        if begin is None:
            continue
        if begin == "SIM" and (access.mode is not Mode.SIMULATED or outside):
            msg = (
                f"{setting} is a simulator's key, which no host but one on this machine may see; "
                f"set Alpaca's key, or use --simulate."
            )
            raise CredentialsError(msg)
        # Alpaca's data may be read with the keys of either account, but a simulator sees neither.
        if begin == _KEY_OF_MODE[access.mode]:
            continue
        if access.mode is Mode.SIMULATED or setting == "ALPACA_API_KEY":
            msg = (
                f"{setting} is {_KINDS[begin]} key, but the mode is {access.mode}; set the key "
                f"that belongs to it."
            )
            raise CredentialsError(msg)


def _fault(said: re.Match[str] | None, account: str, limits_hash: str, today: date) -> str | None:
    """Return what is wrong with what was typed, None for nothing."""
    if said is None:
        return "is missing or is not the sentence"
    if said["account"] != account:
        return f"names account {said['account'][:20]}, not {account}"
    if said["limits"] != limits_hash:
        return f"names limits {said['limits'][:20]}, but those in force are {limits_hash}"
    return _expiry_fault(said["until"], today)


def _expiry_fault(last_day: str, today: date) -> str | None:
    try:
        until = date.fromisoformat(last_day)
    except ValueError:
        return f"ends on {last_day}, which is no day"
    if until < today:
        return f"ended on {until}"
    if until - today > LONGEST_CONFIRMATION:
        return f"ends on {until}, too far ahead"
    return None
