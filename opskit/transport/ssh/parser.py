"""asyncssh's parser of ssh's configuration files, with what ssh obeys and it does not; `config` asks it.

It leaves out some keywords, fills in tokens (%h ...) too early for us, and none in conditions.
"""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import re
import shlex
import socket
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncssh.config import SSHClientConfig
from asyncssh.pattern import WildcardPatternList

from opskit.errors import SettingsError
from opskit.transport.ssh.known_hosts import SSH_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opskit.fleet import Host

logger = logging.getLogger("opskit")

DEPTH: Final = 16
"""How deep files may include others, as for ssh."""

NOT_OBEYED: Final = (
    *("BindAddress", "BindInterface", "CanonicalizeHostname", "Ciphers", "HostKeyAlgorithms", "KexAlgorithms"),
    *("KnownHostsCommand", "MACs", "PKCS11Provider", "PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes"),
    *("RevokedHostKeys", "SecurityKeyProvider", "VerifyHostKeyDNS"),
)
"""What would make another connection, or none, if ssh made it."""

EXEC: Final = {"exec", "!exec"}
VOLATILE: Final = {*EXEC, "localnetwork", "!localnetwork"}
ALONE: Final = {"all", "canonical", "final"}
"""Conditions that run something, that may be others the next time, and that stand alone."""

_HARMLESS: Final = {"no", "none", "default"}

_PLAIN: Final = re.compile(r"[\w.:@%+,][\w.:@%+,-]*|")
"""What may become a part of a command of the user's own; a leading '-' would make it an option."""


class _Reader(SSHClientConfig):
    """asyncssh's parser, with a few more keywords, and with the tokens (%h ...) of values left for later."""

    _percent_expand: set[str] = set()  # noqa: RUF012 - asyncssh's
    _no_split = SSHClientConfig._no_split | {"match"}  # noqa: SLF001 - it would split what `exec` runs at each '='

    def _set_hostname(self, option: str, args: list[str]) -> None:
        self._options.setdefault(option, args.pop(0))

    def _set_command(self, option: str, args: list[str]) -> None:
        args[0] = args[0].removeprefix("=").strip()  # asyncssh takes the whole rest of the line
        self._set_string(option, args)

    _handlers = {  # noqa: RUF012 - asyncssh's
        **SSHClientConfig._handlers,  # noqa: SLF001 - asyncssh offers no other way to know a keyword
        "hostname": ("Hostname", _set_hostname),
        "proxycommand": ("ProxyCommand", _set_command),
        "stricthostkeychecking": ("StrictHostKeyChecking", SSHClientConfig._set_string),  # noqa: SLF001 - as above
    }


class Survey(_Reader):
    """Reads every line, whichever host it is for, and notes what may tell hosts apart.

    Attributes:
        patterns: Those of the Host lines.
        conditional: Whether Match lines tell hosts apart too.
        volatile: Whether what those find may be another the next time.
        seen: The files that were read, and the folders that would have more.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.patterns: list[WildcardPatternList] = []
        self.conditional = self.volatile = False
        self.seen: list[Path] = []
        self._open = 0

    def parse(self, path: Path) -> None:
        """Read a file, and note it."""
        self._open += 1
        if self._open > DEPTH:
            self._error(f"the files include each other more than {DEPTH} deep")
        self.seen.append(path)
        super().parse(path)
        self._open -= 1

    def _note_host(self, option: str, args: list[str]) -> None:  # noqa: ARG002 - asyncssh's
        self.patterns.append(WildcardPatternList(",".join(args)))
        self._matching = True
        args.clear()

    def _note_match(self, option: str, args: list[str]) -> None:  # noqa: ARG002 - asyncssh's
        words = _conditions(args[0])
        self.conditional = self.conditional or words != ["all"]
        self.volatile = self.volatile or not VOLATILE.isdisjoint(words)
        self._matching = True
        args.clear()

    def _note_include(self, option: str, args: list[str]) -> None:
        for pattern in args:
            folder = Path("~/.ssh").expanduser() / Path(pattern).expanduser()
            while any(sign in str(folder) for sign in "*?["):
                folder = folder.parent
            self.seen.append(folder)  # it changes when there is one more file
        self._include(option, args)

    _handlers = {  # noqa: RUF012 - asyncssh's
        **_Reader._handlers,  # noqa: SLF001 - as above
        "host": ("Host", _note_host),
        "match": ("Match", _note_match),
        "include": ("Include", _note_include),
    }


class Lookup(_Reader):
    """Reads the lines for one host. The tokens in its conditions are filled in, as ssh does and asyncssh does not."""

    def _match_val(self, match: str) -> object:
        return self._address() if match == "host" else super()._match_val(match)

    def _match_filled(self, option: str, args: list[str]) -> None:
        words = _conditions(args[0])
        befores = ["", *words]
        args[:] = [self._filled(word) if before in EXEC else word for before, word in zip(befores, words, strict=False)]
        self._match(option, args)

    def _address(self) -> str:
        return address_of(self._orig_host, str(self._options.get("Hostname", self._orig_host)))

    def _filled(self, text: str) -> str:
        said: dict[str, Any] = self._options
        tokens = tokens_of(self._orig_host, self._address(), said.get("Port"), said.get("User"))
        return filled(text, tokens, f"{self._path}, line {self._line_no}")

    def _set_not_obeyed(self, option: str, args: list[str]) -> None:
        if args[0].lower() not in _HARMLESS:
            warn_once(f"{self._path}, line {self._line_no}: {option} is not obeyed")
        args.clear()

    _handlers = {  # noqa: RUF012 - asyncssh's
        **_Reader._handlers,  # noqa: SLF001 - as above
        "match": ("Match", _match_filled),
        **dict(zip(map(str.lower, NOT_OBEYED), zip(NOT_OBEYED, repeat(_set_not_obeyed)), strict=True)),
    }


def _conditions(line: str) -> list[str]:
    """The words of a Match line, its keywords in lower case."""
    words: list[str] = []
    valued = False
    for word in shlex.split(line):
        name, sign, value = word.partition("=")
        if valued:
            words.append(word)
            valued = False
        else:
            words += [name.lower(), value] if sign else [name.lower()]
            valued = not sign and name.lower().removeprefix("!") not in ALONE
    return words


def parsed(kind: Any, files: Sequence[Path], host: Host | None = None, last: Any = None) -> Any:
    """Let asyncssh's parser read the files; what the host says by itself wins. `last` is what the pass before found."""
    own = (host.user or (), host.name, host.port or ()) if host else ((), "", ())
    try:
        reader = kind(last, False, False, last is not None, local_user(), *own)
        if host is not None and host.address != host.name:
            reader._options["Hostname"] = host.address.replace("%", "%%")  # noqa: SLF001 - asyncssh has no parameter for it
        for file in files:
            reader.parse(file)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError) as error:
        raise SettingsError(f"ssh_config can't be understood: {error} ({', '.join(map(str, files))})") from error
    return reader


def looked_up(files: Sequence[Path], host: Host) -> dict[str, Any]:
    """Find a host's options, in the order in which they were said."""
    reader = parsed(Lookup, files, host)
    if reader.has_match_final():
        reader = parsed(Lookup, files, host, reader)
    return dict(reader._options)  # noqa: SLF001 - asyncssh gives single ones only


def address_of(name: str, said: str) -> str:
    """What HostName comes to for the host of this name."""
    return filled(said, {"%": "%", "h": name}, name)


def tokens_of(name: str, address: str, port: int | None, user: str | None, alias: str | None = None) -> dict[str, str]:
    """What %h and the others stand for."""
    local = socket.gethostname()
    user = user or local_user()
    found = {"%": "%", "d": str(Path.home()), "h": address, "i": str(os.getuid()), "k": alias or name, "l": local}
    found |= {"L": local.partition(".")[0], "n": name, "p": str(port or SSH_PORT), "r": user, "u": local_user()}
    whole = "".join(found[letter] for letter in "lhpr")
    return {**found, "C": hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()}


def filled(text: str, tokens: Mapping[str, str], where: str) -> str:
    """Fill in tokens and the environment's variables."""

    def value(found: re.Match[str]) -> str:
        letter, variable = found.groups()
        if variable is not None:
            if variable in os.environ:
                return os.environ[variable]
            raise SettingsError(f"ssh_config: {text!r} for {where}: no environment variable is called {variable}")
        if letter not in tokens:
            raise SettingsError(f"ssh_config: {text!r} for {where}: %{letter} is not known")
        if letter in "hnr" and not _PLAIN.fullmatch(tokens[letter]):
            raise SettingsError(f"ssh_config: {text!r} for {where}: {tokens[letter]!r} can't safely be put in there")
        return tokens[letter]

    return re.sub(r"%(.)|\$\{(.*?)\}", value, text)


def local_user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        return ""


def warn_once(message: str) -> None:
    """Log what a person should know, once for the process."""
    if message not in _warned:
        _warned.add(message)
        logger.warning("opskit: %s", message)


_warned: Final[set[str]] = set()
