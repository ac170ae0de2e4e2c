"""Who may log in, and to which maildrop: cred's checkers, portal and realm. It knows no protocol."""

from mailserver.auth.accounts import Accounts
from mailserver.auth.hashing import Hashing
from mailserver.auth.oracle import make_oracle
from mailserver.auth.passwd.checker import PasswordFile
from mailserver.auth.portal import MailboxRealm, make_portal

__all__ = ["Accounts", "Hashing", "MailboxRealm", "PasswordFile", "make_oracle", "make_portal"]
