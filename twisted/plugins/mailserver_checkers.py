"""Our kinds of ``--auth``, for every Twisted program that has this option.

Apart from the command, because only programs that look for checkers need to import what these need.
"""

from mailserver.auth.plugins import (
    DovecotAuthFactory,
    KerberosPasswordFactory,
    LdapFactory,
    OAuthFactory,
    PamFactory,
    PasswordFileFactory,
    SqlFactory,
)

passwd_file = PasswordFileFactory()
dovecot_auth = DovecotAuthFactory()
kerberos_password = KerberosPasswordFactory()
ldap = LdapFactory()
oauth2 = OAuthFactory()
sql = SqlFactory()
pam = PamFactory()
