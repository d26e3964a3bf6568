"""Models are imported one by one; each brings along the tables that its foreign keys lead to, `Base` all of them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

from webapp import models
from webapp.models.base import Base

MODULES = [module.name for module in pkgutil.iter_modules(models.__path__) if module.name != "base"]
COUNT_TABLES = "from webapp.models import Base; print(len(Base.metadata.tables))"


@pytest.mark.parametrize("name", models.__all__)
def test_every_model_is_found_by_its_name(name: str) -> None:
    assert getattr(models, name).__name__ == name


def test_every_table_has_a_name_in_the_package() -> None:
    assert {mapper.class_.__name__ for mapper in models.Base.registry.mappers} == set(models.__all__) - {"Base"}


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ImportError, match="Bakcup"):
        from webapp.models import Bakcup  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_the_modules_of_the_tables_that_it_refers_to(name: str) -> None:
    module = importlib.import_module(f"webapp.models.{name}")
    homes = {mapper.local_table: mapper.class_.__module__ for mapper in models.Base.registry.mappers}
    imported = {
        value.__name__ if inspect.ismodule(value) else value.__module__
        for value in vars(module).values()
        if inspect.ismodule(value) or inspect.isclass(value)
    }
    needed = {
        homes[constraint.referred_table]
        for table, home in homes.items()
        if home == module.__name__
        for constraint in table.foreign_key_constraints
    }
    assert needed <= imported


def test_whoever_asks_for_the_base_gets_every_table() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT_TABLES], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(Base.metadata.tables) == len(models.__all__) - 1
