"""What Twisted finds of us: the ``mailserver`` command of twist and twistd, and our kinds of ``--auth``.

Every start of any Twisted program may import this file, so it names the real modules by strings.
"""

from twisted.application.service import ServiceMaker

mailserver = ServiceMaker(
    "mailserver",
    "mailserver.cli.launch",
    "A POP3 and POP3S server.",
    "mailserver",
)
