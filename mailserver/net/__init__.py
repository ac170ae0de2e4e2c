"""The only Twisted protocols. Everything they use is handed in by their constructors."""

from mailserver.net.listener import Limits, POP3ServerFactory

__all__ = ["Limits", "POP3ServerFactory"]
