"""What a passwd-file that was made says to the server's own reader."""

from mailserver.auth.passwd.table import read_table


def table(converted):
    """The users by name."""
    text = converted.text.encode("utf-8", "surrogateescape")
    return {name.decode(): entry for name, entry in read_table(text).entries.items()}


def opens(converted, name, password):
    """Whether the password lets the user in."""
    entry = table(converted)[name]
    return not entry.user.denied and entry.secret is not None and entry.secret.verify(password)
