"""A Twisted-based mail server: POP3, POP3S and KPOP over one cred portal and a realm of maildrops."""

__version__ = "0.1.0"
