"""Who may log in, and to which maildrop: cred's checkers, portal and realm. It knows no protocol."""

from mailserver.auth.accounts import Accounts
from mailserver.auth.hashing import Hashing
from mailserver.auth.oracle import make_oracle
from mailserver.auth.passwd.checker import PasswordFile
from mailserver.auth.portal import MailboxRealm, make_portal
from mailserver.auth.users import Users

__all__ = ["Accounts", "Hashing", "MailboxRealm", "PasswordFile", "Users", "make_oracle", "make_portal"]
