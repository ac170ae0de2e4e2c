"""``mailserver deliver``: hands a message from a pipe to the server.

It imports nothing of Twisted's, so that it starts as fast as Python and click do.
"""

from __future__ import annotations

import click

from mailserver.cli.group import FILE, config_option
from mailserver.cli.main import tell

SECONDS = 300.0
"""How long it waits for the server in all. RFC 5321 section 4.5.3.2 gives a server minutes for a reply. Postfix kills a pipe's
program after 1000 s (command_time_limit), and lets the mail bounce then."""


@click.command(short_help="Deliver a message from standard input.")
@click.argument("users", metavar="USER...", nargs=-1, required=True)
@click.option(
    "-f",
    "sender",
    metavar="SENDER",
    help='Who gets a bounce; "": nobody. Default: an mbox\'s "From " line, else nobody.',
)
@click.option(
    "-a",
    "original",
    metavar="ORIGINAL",
    default="",
    help="The address that the sender wrote, if it became USER by aliases.",
)
@click.option("--socket", metavar="PATH", type=FILE, help="The server's Unix socket, in place of the configured one.")
@click.option(
    "--lmtp", metavar="ENDPOINT", help="The same for any socket, such as tcp:10024 or unix:/run/mailserver/lmtp."
)
@click.option(
    "--timeout",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=SECONDS,
    show_default=True,
    help="How long to wait for the server, in all.",
)
@config_option
def deliver(  # noqa: PLR0913, PLR0917 - the options
    users: tuple[str, ...],
    sender: str | None,
    original: str,
    socket: str | None,
    lmtp: str | None,
    seconds: float,
    config: str,
) -> int:
    """Deliver a message from standard input to each USER.

    A USER is a name or an address, as the server knows it. The command speaks LMTP to the server: to its socket by `listen.lmtp` of
    the configuration. It says in one line what went wrong, which begins with the enhanced status code of RFC 3463.

    \b
    Examples:
      mailserver deliver -f "$SENDER" alice < message
      mailserver deliver --socket /run/mailserver/lmtp -- "$USER"
      fetchmail --mda 'mailserver deliver -f %F -- %T'

    \b
    In Postfix's master.cf (one line), with mailserver_destination_recipient_limit = 1 in main.cf:
      mailserver unix - n n - - pipe flags=q user=vmail null_sender=
        argv=/usr/bin/mailserver deliver -f ${sender} -a ${original_recipient} -- ${recipient}

    \b
    Exit status:
       0  delivered to everybody, and safe on the disk
      64  the command line is wrong (Postfix tries again all the same)
      65  the message is empty, or too big
      67  no such user
      69  refused for another reason, for good
      75  not now: nobody answers, no room, a database is down, the configuration cannot be read, or a fault
      77  not allowed, or the maildrop is full for good

    With several USERs, what is temporary for one counts for all: nobody gets the message then, unless the server says so only after
    it has the whole message. What is refused for good does not keep the others from getting theirs.
    """  # noqa: D301 - click's mark of a paragraph that stays as it is
    from mailserver.cli import places
    from mailserver.cli.handing import hand_over, temporary
    from mailserver.cli.message import Message, Unreadable

    if socket and lmtp:
        raise click.UsageError("give --socket or --lmtp, not both")
    try:
        if socket:
            place = places.Place(socket)
        else:
            place = places.first([lmtp], "--lmtp") if lmtp else places.configured(config)
        verdict = hand_over(Message(), users, sender=sender, original=original, place=place, seconds=seconds)
    except places.NoPlace as error:
        verdict = temporary(str(error), "4.3.5")
    except Unreadable as error:
        verdict = temporary(f"standard input: {error}; nothing was delivered")
    if verdict.line:
        tell(verdict.line)
    return verdict.status
