"""A configuration of Dovecot's on its way into ours: what was taken, what was told, and what was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mailserver.migration.users.converted import Remark, Setting
from mailserver.migration.users.dovecot_conf import Block, is_yes


@dataclass(slots=True)
class Taking:
    """Settings are asked as POP3 has them there: those of its own block first."""

    root: Block
    settings: list[Setting] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    looked_at: set[str] = field(default_factory=set)

    def get(self, *names: str, default: str = "") -> str:
        """The first of these settings that is given."""
        self.looked_at.update(names)
        for block in (*self.root.within("protocol", "pop3"), self.root):
            if any(name in block.values for name in names):
                return block.get(*names)
        return default

    def yes(self, *names: str, default: bool = False) -> bool:
        """Whether a setting says yes."""
        return is_yes(self.get(*names), default)

    def within(self, name: str, label: str = "") -> Iterator[Block]:
        """The blocks of this name."""
        self.looked_at.add(name)
        return self.root.within(name, label)

    def put(self, table: str, key: str, value: str | int | bool | Sequence[str], why: str = "") -> None:
        """A setting of ours; of two the first counts."""
        if not any((each.table, each.key) == (table, key) for each in self.settings):
            self.settings.append(Setting(table, key, value, why))

    def tell(self, about: str, text: str) -> None:
        """A remark."""
        self.remarks.append(Remark(about, text))

    def not_looked_at(self) -> list[str]:
        """The names of all else, which is for other protocols or for the old server's own work."""
        names = {*self.root.values, *self.root.hidden, *(each.name for each in self.root.blocks)}
        return sorted(names - self.looked_at)


def words(text: str) -> list[str]:
    """A list as Dovecot writes it: with blanks, or commas."""
    return text.replace(",", " ").split()
