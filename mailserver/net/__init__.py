"""The only Twisted protocols. Everything they use is handed in by their constructors."""

from mailserver.limits import Limits
from mailserver.net.kpop import KPOPServerFactory
from mailserver.net.lmtp_listener import LMTPServerFactory
from mailserver.net.pop3_listener import POP3ServerFactory

__all__ = ["KPOPServerFactory", "LMTPServerFactory", "Limits", "POP3ServerFactory"]
