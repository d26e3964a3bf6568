"""For `alembic` by hand (a new revision): runs against HOLDFAST_DATABASE_URL or the home's SQLite database."""

from __future__ import annotations

import os

from alembic import context

from webapp.database import make_engine
from webapp.models import Base
from webapp.settings import read_settings

engine = make_engine(read_settings(os.environ).database_url)
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    context.run_migrations()
