"""Build the pages as a site: ``python docs/site/build.py DIRECTORY`` writes it to DIRECTORY/html. Needs the extra ``docs``.

The pages are written to be read in the repository, too, where they link to files outside docs/. The site has these files as pages of
their own, so no link leaves it. A link that leads nowhere ends the build with status 1.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).parent
LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
"""Where a link leads, if not to another host or within its page."""
PICTURES: Final = frozenset({".svg", ".png"})
LANGUAGES: Final = {
    ".py": "python",
    ".toml": "toml",
    ".service": "ini",
    ".socket": "ini",
    ".json": "json",
    ".yml": "yaml",
}
"""How a file that is shown whole is coloured."""


def build(directory: Path) -> None:
    """Assemble the pages, and have them built. Errors: subprocess.CalledProcessError, whose output has told why."""
    shutil.rmtree(directory, ignore_errors=True)
    pages = directory / "docs"
    for source in [
        *ROOT.glob("docs/*.md"),
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "LICENSE",
        ROOT / "README.md",
    ]:
        _add(source, pages)
    for image in ROOT.glob("docs/*"):
        if image.suffix in PICTURES:
            shutil.copy(image, pages)
    shutil.copy(HERE / "zensical.toml", directory)
    subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=directory, check=True)


def place(source: Path) -> Path:
    """Where a file of the project is in the site: pages stand at the top, the others below ``files``."""
    source = source.relative_to(ROOT)
    if source == Path("README.md"):
        return Path("index.md")
    if source.suffix in {".md", *PICTURES}:
        return Path(source.name)
    return Path("files", f"{source}.md")


def _add(source: Path, pages: Path) -> None:
    """Write a page, and those of the files that it links to."""
    target = pages / place(source)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".md":
        target.write_text(_shown(source), "utf-8")
        return
    text = source.read_text("utf-8")
    target.write_text(LINK.sub(lambda found: _link(source, found[1]), text), "utf-8")
    for link in LINK.findall(text):
        linked = (source.parent / link).resolve()
        if linked.is_file() and linked.suffix not in PICTURES:
            _add(linked, pages)


def _link(source: Path, link: str) -> str:
    """The link, as it is in the site. One that leads nowhere stays, for the build to tell."""
    linked = (source.parent / link).resolve()
    return str(place(linked)) if linked.is_file() else link


def _shown(source: Path) -> str:
    """A file as a page."""
    name, text = source.relative_to(ROOT), source.read_text("utf-8")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"# {name}\n\n{fence}{LANGUAGES.get(source.suffix, 'text')}\n{text}{fence}\n"


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
