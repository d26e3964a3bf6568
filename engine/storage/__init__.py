"""Storages: places that keep objects by name. A new one is a module and a line in KINDS."""

from __future__ import annotations

from engine.storage import local, s3

KINDS = {"local": local, "s3": s3}
