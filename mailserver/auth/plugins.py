"""The factories of checkers for Twisted's ``--auth``; ``twisted/plugins`` makes one object of each."""

# ruff: noqa: N815 - the names are those of ICheckerFactory

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.strcred import ICheckerFactory, InvalidAuthArgumentString
from twisted.plugin import IPlugin
from zope.interface import implementer

from mailserver.auth.dovecot.checker import DovecotAuth, DovecotUsers
from mailserver.auth.kerberos.password import KerberosPassword
from mailserver.auth.pam.checker import PamUsers
from mailserver.auth.pam.options import Options
from mailserver.auth.passwd.checker import PasswordFile
from mailserver.credentials import IBearerToken
from mailserver.modules import why_not
from mailserver.names import user_name

if TYPE_CHECKING:
    from mailserver.auth.ldap.checker import LdapUsers
    from mailserver.auth.oauth.checker import OAuthTokens
    from mailserver.auth.sql.checker import SqlUsers

HELP = """
Users from a file in Dovecot's passwd-file format, a line each:

  name:{SCHEME}secret:uid:gid:gecos:home:shell:extra fields

What stands behind the secret may be missing. "doveadm pw -s SCHEME" writes
secrets; {PLAIN} is the only kind that APOP can use. A changed file is picked
up at the next login. See docs/authentication.md for all schemes and fields.

  passwd-file:/etc/mailserver/users
  passwd-file:/etc/mailserver/users.example.org:domain=example.org

The second is asked for users of its domain alone, who may stand in it without.
"""


@implementer(ICheckerFactory, IPlugin)
class PasswordFileFactory:
    """Makes a `PasswordFile` of ``passwd-file:/path[:domain=...]``.

    The service starts it. In another Twisted program it starts itself at its first login, with the reactor that the program
    has installed.
    """

    authType = "passwd-file"
    authHelp = HELP
    argStringFormat = "Location of a passwd-file, and optionally its domain."
    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def generateChecker(self, argstring: str) -> PasswordFile:
        """The checker; its file is read when it starts."""
        path, option, domain = argstring.partition(":domain=")
        if not path.strip():
            raise InvalidAuthArgumentString("passwd-file needs the location of the file: passwd-file:/path")
        if option and (user_name(domain) != domain or domain != domain.lower() or "@" in domain):
            raise InvalidAuthArgumentString("passwd-file: the domain must be one in lower case, such as example.org")
        return PasswordFile(path, domain=domain, find_reactor=_installed_reactor)


KERBEROS_HELP = """
Passwords that a Kerberos KDC checks. The keytab, with a pop/ key of this
server, is what tells the KDC from one that only plays it.

  kerberos-password:/etc/mailserver/pop.keytab
  kerberos-password:/etc/mailserver/pop.keytab:realm=EXAMPLE.ORG

Options: realm=   of the principals; default: krb5.conf's default_realm
         domain=  users log in as user@domain, and are the principals user
         host=    use the key of pop/host only; default: the first pop/ key
See docs/kerberos.md.
"""


@implementer(ICheckerFactory, IPlugin)
class KerberosPasswordFactory:
    """Makes a `KerberosPassword` of ``kerberos-password:/path[:realm=...][:domain=...][:host=...]``."""

    authType = "kerberos-password"
    authHelp = KERBEROS_HELP
    argStringFormat = "Location of a keytab, and options."
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> KerberosPassword:
        """The checker; its keytab is read when it starts."""
        keytab, *words = argstring.strip().split(":")
        options = dict.fromkeys(("realm", "domain", "host"), "")
        for key, _, value in (word.partition("=") for word in words):
            if key not in options or not value:
                raise InvalidAuthArgumentString(f'kerberos-password: "{key}" is none of realm=, domain= and host=')
            options[key] = value
        if not keytab:
            raise InvalidAuthArgumentString("kerberos-password needs a keytab: kerberos-password:/path")
        try:
            return KerberosPassword(
                keytab,
                realm=options["realm"],
                domain=options["domain"],
                host=options["host"],
                find_reactor=_installed_reactor,
            )
        except ValueError as error:
            raise InvalidAuthArgumentString(f"kerberos-password: {error}") from None


DOVECOT_HELP = """
The users of a Dovecot that runs on this machine: its auth service verifies
the passwords, and, if asked, says where the mail is.

  dovecot-auth:/run/dovecot/auth-client
  dovecot-auth:/run/dovecot/auth-client:userdb=/run/dovecot/auth-userdb

The serving user must be able to open these sockets. See docs/users-dovecot.md.
"""


@implementer(ICheckerFactory, IPlugin)
class DovecotAuthFactory:
    """Makes a `DovecotAuth` of ``dovecot-auth:/path``, and a `DovecotUsers` where ``:userdb=/path`` follows."""

    authType = "dovecot-auth"
    authHelp = DOVECOT_HELP
    argStringFormat = "Location of a socket, and optionally of another for homes."
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> DovecotAuth:
        """The checker; it connects when it starts."""
        path, option, userdb = argstring.strip().partition(":userdb=")
        if not path.startswith("/") or (option and not userdb.startswith("/")):
            example = "dovecot-auth:/run/dovecot/auth-client:userdb=/run/dovecot/auth-userdb"
            raise InvalidAuthArgumentString(f"dovecot-auth needs the absolute paths of sockets: {example}")
        return DovecotUsers(path, userdb) if option else DovecotAuth(path)


PAM_HELP = """
System users, through PAM: the rules are those of a file in /etc/pam.d, of
which etc/pam.d/mailserver is an example. A small process of its own keeps the
rights that the server gives up, since only root can read /etc/shadow.

  pam:mailserver
  pam:mailserver:domain=example.org:min_uid=1000

Options: min_uid=    users below it cannot log in (1000); root never can
         domain=     users log in as user@domain, and are the users user
         timeout=    seconds for an answer (15)
         remember=   seconds for which a right password is remembered (0)
         processes=  logins at a time (4)
         folder=     where the service's file is, in place of /etc/pam.d
See docs/users-pam.md.
"""


@implementer(ICheckerFactory, IPlugin)
class PamFactory:
    """Makes a `PamUsers` of ``pam:SERVICE[:option=value]...``."""

    authType = "pam"
    authHelp = PAM_HELP
    argStringFormat = "Name of a PAM service, and options."
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> PamUsers:
        """The checker; its process begins before root is given up."""
        try:
            options = Options.read(argstring)
        except ValueError as error:
            raise InvalidAuthArgumentString(f"pam: {error}") from None
        return PamUsers(options, find_reactor=_installed_reactor)


OAUTH_HELP = """
Bearer tokens of OAuth 2.0, for SASL OAUTHBEARER and XOAUTH2. A TOML file says
who issues them, for whom they must be, and how they are verified: by the
issuer's public keys, or by asking the issuer.

  oauth2:/etc/mailserver/oauth.toml

Needs pip install twisted-mailserver[oauth]. See docs/sasl.md.
"""


@implementer(ICheckerFactory, IPlugin)
class OAuthFactory:
    """Makes an `OAuthTokens` of ``oauth2:/path``. The service starts it."""

    authType = "oauth2"
    authHelp = OAUTH_HELP
    argStringFormat = "Location of a TOML file."
    credentialInterfaces = (IBearerToken,)

    def generateChecker(self, argstring: str) -> OAuthTokens:
        """The checker; its files are read when it starts."""
        if not argstring.strip():
            raise InvalidAuthArgumentString("oauth2 needs the location of a file: oauth2:/path")
        try:
            import joserfc  # noqa: F401 - to distinguish its absence from a fault of our module that imports it
            import treq  # noqa: F401 - likewise
        except ImportError as error:
            raise InvalidAuthArgumentString(f"oauth2 needs more: {why_not(error, 'oauth')}") from None
        from mailserver.auth.oauth.checker import OAuthTokens  # it imports an HTTP client, which few servers need

        return OAuthTokens(argstring.strip())


SQL_HELP = """
Users from a database: PostgreSQL, MariaDB or MySQL, or SQLite. A TOML file
says where it is, and has the site's own statements.

  sql:/etc/mailserver/sql.toml

Needs pip install twisted-mailserver[postgresql], or [mysql]; SQLite comes with
Python. See docs/users-sql.md.
"""


@implementer(ICheckerFactory, IPlugin)
class SqlFactory:
    """Makes a `SqlUsers` of ``sql:/path``. The service starts it."""

    authType = "sql"
    authHelp = SQL_HELP
    argStringFormat = "Location of a TOML file."
    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword)

    def generateChecker(self, argstring: str) -> SqlUsers:
        """The checker. Its driver is imported now, and its file is read when it starts."""
        path = argstring.strip()
        if not path:
            raise InvalidAuthArgumentString("sql needs the location of a file: sql:/path")
        from mailserver.auth.sql.checker import SqlUsers
        from mailserver.auth.sql.drivers import DriverMissing, load

        try:
            load(path)
        except DriverMissing as error:
            raise InvalidAuthArgumentString(f"sql needs more: {error}") from None
        return SqlUsers(path)


LDAP_HELP = """
Users of a directory: OpenLDAP, Active Directory or others. A TOML file says
where it is, how a password is proved, and what the attributes are called.

  ldap:/etc/mailserver/ldap.toml

See docs/users-ldap.md.
"""


@implementer(ICheckerFactory, IPlugin)
class LdapFactory:
    """Makes an `LdapUsers` of ``ldap:/path``. The service starts it."""

    authType = "ldap"
    authHelp = LDAP_HELP
    argStringFormat = "Location of a TOML file."
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> LdapUsers:
        """The checker; its file is read when it starts."""
        if not argstring.strip():
            raise InvalidAuthArgumentString("ldap needs the location of a file: ldap:/path")
        from mailserver.auth.ldap.checker import LdapUsers  # few servers need it

        return LdapUsers(argstring.strip())


def _installed_reactor() -> Any:
    """The installed reactor. It must not be imported earlier, so that a program can still choose one."""
    from twisted.internet import reactor

    return reactor
