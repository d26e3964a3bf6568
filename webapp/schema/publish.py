"""The schema as JSON Schema; `python -m webapp.schema.publish` writes configs/schema.json (a test keeps it equal)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PUBLISHED = Path(__file__).resolve().parent.parent.parent / "configs" / "schema.json"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a backup configuration."""
    from webapp.schema.configuration import Configuration

    document = _without_titles(Configuration.model_json_schema(by_alias=True, mode="validation"))
    return {"$schema": DIALECT, "title": "Holdfast backup configuration", **document}


def _without_titles(node: Any) -> Any:
    """The names that pydantic makes up for each property say nothing that the key does not."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _without_titles(item) for key, item in node.items() if key != "title" or not isinstance(item, str)}


def rendered() -> str:
    """What configs/schema.json holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False, sort_keys=False) + "\n"


def main() -> None:
    """Writes configs/schema.json of this checkout."""
    PUBLISHED.write_text(rendered(), encoding="utf-8")


if __name__ == "__main__":
    main()
