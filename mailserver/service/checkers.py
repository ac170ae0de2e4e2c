"""Makes the checkers of the settings, each by the plugin for its strcred string."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.strcred import ICheckerFactory, StrcredException

from mailserver.auth import Accounts, Hashing, PasswordFile, Users
from mailserver.auth.dovecot.checker import DovecotAuth
from mailserver.auth.ldap.checker import LdapUsers
from mailserver.auth.pam.checker import PamUsers
from mailserver.auth.sql.checker import SqlUsers
from mailserver.config.checks import unknown_kind
from mailserver.config.problems import Problems
from mailserver.errors import ConfigError
from mailserver.modules import unusable_for
from mailserver.names import Names
from mailserver.plugged import plugged


def make_checkers(descriptions: Iterable[str], naming: Names | None, problems: Problems) -> list[ICredentialsChecker]:
    """The checkers that can be made, in their order. `naming` is None where `problems` already has the rules for names."""
    checkers: list[ICredentialsChecker] = []
    hashing = Hashing()  # one for all: there may be a hundred files
    for description in descriptions:
        with problems.collect("auth.checkers"):
            checker = make_checker(description)
            checkers.append(checker)
            if isinstance(checker, LdapUsers | PasswordFile | SqlUsers):
                checker.naming, checker.hashing = naming or checker.naming, hashing
            elif isinstance(checker, DovecotAuth | PamUsers):
                checker.naming = naming or checker.naming
    return checkers


def make_users(naming: Names, checkers: Sequence[ICredentialsChecker]) -> Users:
    """The users of these checkers."""
    return Accounts(naming, checkers) if naming.accounts else Users(checkers)


def make_checker(description: str) -> ICredentialsChecker:
    """The checker for a strcred string. Errors: ConfigError, which quotes only the kind, since the rest may hold a secret."""
    problems = [f"auth.checkers: {text}" for text in unknown_kind(description)]
    if problems:
        raise ConfigError(problems)
    kind, _, argument = description.partition(":")
    if kind == "unix":
        _check_unix()
    if kind == "file" and not argument:
        # Twisted's own checker raises a ValueError for this, which would be a fault in others.
        raise ConfigError(["auth.checkers: file needs the location of a file: file:/path"])
    try:
        factory = next(each for each in plugged(ICheckerFactory) if each.authType == kind)
        return cast(ICredentialsChecker, factory.generateChecker(argument))
    except Exception as error:
        unusable = unusable_for(error, StrcredException)
        if unusable is None:
            raise
        raise ConfigError([f"auth.checkers: {kind}: {text}" for text in unusable.problems]) from error


def _check_unix() -> None:
    """Import the modules that Twisted's checker of system users imports at a login. Errors: ConfigError, if it cannot work."""
    for name in ("crypt", "spwd"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are deprecated, and the checker is Twisted's
                import_module(name)
        except ImportError:
            version = ".".join(map(str, sys.version_info[:2]))
            text = f"Python {version} has no module {name} (3.12 was the last), so nobody could log in"
            raise ConfigError([f"auth.checkers: unix: {text}: use passwd-file, or an older Python"]) from None
