"""The checkers' factories for Twisted's ``--auth``: ``twisted/plugins`` makes one object of each."""

# ruff: noqa: N815 - the names are those of ICheckerFactory

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from zope.interface import implementer

from mailserver.auth.password_file import PasswordFile

HELP = """
Users from a file in Dovecot's passwd-file format, a line each:

  name:{SCHEME}secret:uid:gid:gecos:home:shell:extra fields

What stands behind the secret may be missing. "doveadm pw -s SCHEME" writes
secrets; {PLAIN} is the only kind that APOP can use. A changed file is picked
up at the next login. See docs/authentication.md for all schemes and fields.
"""


@implementer(ICheckerFactory, IPlugin)
class PasswordFileFactory:
    """Makes a `PasswordFile` of ``passwd-file:/path``.

    Our service starts it. In another Twisted program nobody does, so there it starts itself at its first login, with the
    reactor that this program has installed.
    """

    authType = "passwd-file"
    authHelp = HELP
    argStringFormat = "Location of a passwd-file."
    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def generateChecker(self, argstring: str) -> PasswordFile:
        """The checker; its file is read when it starts."""
        if not argstring.strip():
            raise InvalidAuthArgumentString("passwd-file needs the location of the file: passwd-file:/path")
        return PasswordFile(argstring, find_reactor=_installed_reactor)


def _installed_reactor() -> Any:
    """The command line's own reactor. It must not be imported before a program had its chance to choose one."""
    from twisted.internet import reactor

    return reactor
