"""The ``mailserver`` command of twist and twistd.

Every Twisted program that lists its commands imports this file, so the service is named by strings.
"""

from twisted.application.service import ServiceMaker

mailserver = ServiceMaker(
    "mailserver",
    "mailserver.cli.command",
    "A POP3, POP3S and KPOP server.",
    "mailserver",
)
