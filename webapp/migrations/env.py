"""For making a new revision with alembic's own command, against a database that is at HEAD:

`alembic -x database=sqlite:///PATH revision --autogenerate -m TEXT` with script_location webapp/migrations.
Opening a database upgrades it without this file (webapp/migrations/upgrade.py)."""

from __future__ import annotations

from alembic import context

from webapp.database import make_engine
from webapp.models import Base

engine = make_engine(context.get_x_argument(as_dictionary=True)["database"])
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    context.run_migrations()
