"""The program's version, known without reading package metadata. pyproject.toml says the same (tested)."""

VERSION = "0.1.0"
PROGRAM = f"holdfast {VERSION}"
