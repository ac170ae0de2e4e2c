"""A real Dovecot's auth service for tests, with the users of one configuration, in a folder of its own."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tests import dovecots

CONFIGURATION = """
protocols = none
default_vsz_limit = 4G
service auth {
  unix_listener auth-userdb {
    mode = 0666
  }
}
"""


class Dovecot(dovecots.Dovecot):
    """It is started by the first `serve`."""

    def serve(self, text: str, **files: str) -> None:
        """Serve the users of a configuration, in which `{folder}` stands for the folder with these files."""
        self.configure(CONFIGURATION + text.replace("{folder}", str(self.folder)))
        for name, content in files.items():
            self._write(self.folder / name, content.replace("{folder}", str(self.folder)).encode(), 0o644)
        self.kill()
        self.start()

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ("doveadm", "-c", str(self.configuration), *words)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def admits(self, *given: tuple[str, str]) -> list[bool]:
        """Whether it takes each of these names and passwords, and its login processes would then let the user in.

        All are asked at once, since it delays refusals.
        """
        with ThreadPoolExecutor(len(given)) as pool:
            done = list(pool.map(lambda each: self._ask("auth", "test", *each), given))
        return [each.returncode == 0 and "nologin" not in each.stdout for each in done]

    def home(self, name: str) -> str:
        """Where it has a user's home."""
        found = re.search(r"^ *home *: (.*)$", self._ask("user", "-u", name).stdout, re.MULTILINE)
        return found[1] if found else ""

    def names(self) -> set[str]:
        """Its users."""
        return set(self._ask("user", "*").stdout.split())

    def doveconf(self, *words: str) -> str:
        """Its settings, as it prints them."""
        command = ("doveconf", "-c", str(self.configuration), *words)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
