"""User names, as checkers and the realm refuse them; `mailserver.names` reads them."""

from __future__ import annotations

from mailserver.names import MAX_NAME, user_name

__all__ = ["MAX_NAME", "user_name"]
