"""Pages of a PostgreSQL dump: its tables, its definitions without a row, and one table chosen for a restore."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from engine.progress import Silent
from tests.support.postgres import PASSWORD, PostgresServer, fresh_database
from tests.webapp.reading import words
from tests.webapp.shelf import WHO, Shelf
from tests.webapp.site import Site, person
from webapp.services import backups


def test_tables_definitions_and_one_table_chosen(shelf: Shelf, postgres: PostgresServer, tmp_path: Path) -> None:
    settings = replace(shelf.installation.settings, pg_bin=postgres.bin)
    shelf = replace(shelf, installation=replace(shelf.installation, settings=settings))
    with fresh_database(postgres, "from") as source:
        postgres.query(source, "CREATE TABLE orders (id int PRIMARY KEY, note text)")
        postgres.query(source, "INSERT INTO orders VALUES (1, 'a secret row'), (2, 'another')")
        sources = {"databases": [{"url": postgres.url(source)}]}
        shelf.configure(type="database", sources=sources)
        order = backups.Order("shop", WHO)
        made = backups.create(shelf.installation, order, cwd=tmp_path, progress=Silent(), tell=shelf.told.append)
        admin, page = person(Site(shelf.installation)), f"/restore-points/{made.run.backup_id}"
        assert "public.orders 2" in words(admin, f"{page}/database?name={source}")
        definitions = words(admin, f"{page}/schema?name={source}")
        assert "CREATE TABLE public.orders" in definitions
        assert "secret row" not in definitions
        kept = admin.get(f"{page}/schema?name={source}&file=yes")
        assert kept.headers["Content-Disposition"].startswith(f'attachment; filename="{source}-schema.sql"')
        begun = admin.submit(f"{page}/restore", form="/", parts=f"{source}%3Apublic.orders")
        address = str(begun.location).removesuffix("/target")
        aimed = admin.submit(f"{address}/target", where="named", server=postgres.url(f"{source}_beside"))
        assert aimed.status_code == 303, html.unescape(aimed.text)
        review = words(admin, f"{address}/review")
        assert f"{source}_beside @ " in review
        assert f"{source}: 1 tables" in review
        taken = admin.submit(f"{address}/target", where="named", server=postgres.url(source))
        assert taken.status_code == 422
        assert "It cannot go there." in taken.text
        assert quote(PASSWORD, safe="") not in admin.get(f"{address}/target").text
