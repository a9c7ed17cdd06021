"""Puts the changelog on the site, with its links as they are from there."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds `CHANGELOG.md`: its links start from the top, those of pages from `docs`."""
    text = Path(config.config_file_path).with_name("CHANGELOG.md").read_text("utf-8")
    text = text.replace("](docs/", "](")
    files.append(File.generated(config, "changelog.md", content=text))
    return files
