"""What the operator reads of a start that fails: why a module cannot be imported, be it missing, unreadable or broken, and the like."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

from mailserver.errors import Unusable


def why_not(error: ImportError, extra: str = "") -> str:
    """The module, the reason and the remedy; `extra` is the extra of this package that installs the module.

    Python reports an unreadable folder as "no module", too, so this looks at the folders of the path.
    """
    name = error.name or "a module"
    closed = _closed(name)
    if closed:
        return f"{name} cannot be imported: user {_user()} may not enter {closed}; give this user access, or install elsewhere"
    if isinstance(error, ModuleNotFoundError):
        remedy = f"pip install twisted-mailserver[{extra}]" if extra else "install the package that contains it"
        return f"{name} is not installed: {remedy}"
    return f"{name} cannot be imported: {error}; reinstall it"


def _closed(name: str) -> str:
    """The first folder on the way to the module that this process may not list; "" if there is none."""
    for entry in sys.path:
        folder = Path(entry or ".")
        for part in ("", *name.split(".")):
            folder /= part
            try:
                os.scandir(folder).close()
            except PermissionError:
                above = [each for each in reversed(folder.absolute().parents) if not os.access(each, os.X_OK)]
                return str((above or [folder])[0])
            except OSError:  # it is not in this folder, or it is a file
                break
    return ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def unusable_for(error: Exception, *others: type[Exception]) -> Unusable | None:
    """The operator's error for `error` at a start; None for a fault, which is reported with its traceback.

    The operator's are files (OSError), installed packages (ImportError), and the `others`.
    """
    if isinstance(error, Unusable):
        return error
    if isinstance(error, ImportError):
        return Unusable(why_not(error))
    if isinstance(error, OSError) and error.strerror:
        return Unusable(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return Unusable(str(error) or repr(error)) if isinstance(error, (OSError, *others)) else None
