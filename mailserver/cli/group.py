"""The subcommands of ``mailserver``, one module each, which is imported when its command is used."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from keyword import iskeyword
from typing import Any, Final, TypeVar

import click

from mailserver import __version__

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

COMMANDS: Final = {
    "check": "mailserver.cli.check",
    "completion": "mailserver.cli.completion",
    "config": "mailserver.cli.config",
    "deliver": "mailserver.cli.deliver",
    "explain": "mailserver.cli.explain",
    "export": "mailserver.cli.export",
    "import": "mailserver.cli.import_",
    "kick": "mailserver.cli.kick",
    "locks": "mailserver.cli.locks",
    "login": "mailserver.cli.login",
    "maildrop": "mailserver.cli.maildrop",
    "migrate": "mailserver.cli.migrate",
    "password": "mailserver.cli.password",
    "quota": "mailserver.cli.quota",
    "reload": "mailserver.cli.reload",
    "restart": "mailserver.cli.restart",
    "status": "mailserver.cli.status",
    "throttle": "mailserver.cli.throttle",
    "trace": "mailserver.cli.trace",
    "uidl": "mailserver.cli.uidl",
    "user": "mailserver.cli.user",
    "users": "mailserver.cli.users",
    "who": "mailserver.cli.who",
}
"""The module of each; the command has the same name in it."""

FILE: Final = click.Path(readable=False)
"""A path as it is, which shells complete. Whoever opens it says what is wrong with it, and with which exit status."""

CONFIG: Final = "/etc/mailserver/mailserver.toml"


class LazyGroup(click.Group):
    """A group that knows its commands' names, and imports no module but that of the command in use."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules
        """The module of each command."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names."""
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of this name, if there is one."""
        if cmd_name not in self._modules:
            return None
        found: click.Command = getattr(import_module(self._modules[cmd_name]), _in_python(cmd_name))
        return found


def _in_python(name: str) -> str:
    """What a command is called in its module: as on the command line, as far as Python can call it so."""
    name = name.replace("-", "_")
    return f"{name}_" if iskeyword(name) or hasattr(builtins, name) else name


@click.group(cls=LazyGroup, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mailserver", message="%(prog)s %(version)s")
def mailserver() -> None:
    """Deliver mail to a mail server that runs here, and look after its maildrops.

    The server itself is started by `twist mailserver` or `twistd mailserver`.

    \b
    Exit status, if a command does not say otherwise:
       0  done; or the answer is yes
       1  the answer is no
      64  the command line is wrong
      69  nothing there to do it with: a package is missing
      70  a fault of the command
      74  the answer cannot be written
      75  not now: try again later
      78  the configuration is wrong
    """  # noqa: D301 - click's mark of a paragraph that stays as it is


def some_of(words: Callable[[], Iterable[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What shells complete where these words are some of those that an option takes."""
    return lambda _context, _option, typed: [each for each in words() if each.lower().startswith(typed.lower())]


def config_option(command: Decorated) -> Decorated:
    """The option by which each command finds the configuration."""
    return click.option(
        "-c",
        "--config",
        envvar="MAILSERVER_CONFIG",
        default=CONFIG,
        show_default=True,
        show_envvar=True,
        metavar="FILE",
        type=FILE,
        help="The server's settings.",
    )(command)


def user_option(command: Decorated) -> Decorated:
    """The option of the commands that touch maildrops."""
    return click.option(
        "-u", "--user", metavar="NAME", help="Started as root: become this user first. Default: `user` of the settings."
    )(command)


def json_option(command: Decorated) -> Decorated:
    """The option of each command that answers facts."""
    return click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object a line.")(command)
