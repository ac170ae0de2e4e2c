"""``python -m tests.crash.storm MAILDIR SEED``: a program that renames messages without end, from new/ to cur/ and back, and flags."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from random import Random

INFOS = ("", ":2,", ":2,S", ":2,FS")


def main(maildir: str, seed: str) -> None:
    """Until it is killed."""
    random = Random(seed)
    directories = [Path(maildir) / name for name in ("new", "cur")]
    while True:
        for directory in directories:
            files = list(directory.iterdir())
            random.shuffle(files)
            for file in files:
                info = random.choice(INFOS)
                with suppress(FileNotFoundError):  # deleted, or renamed by another storm
                    file.rename(directories[bool(info)] / f"{file.name.partition(':')[0]}{info}")


if __name__ == "__main__":
    main(*sys.argv[1:])
