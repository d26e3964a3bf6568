"""What pages ask of years at a glance: figures of each month, how long the backups of a day took, how large a restore
point is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_DURATIONS = ("duration_p50", "duration_p95")
_SIZES = {"bytes_total": "bytes", "bytes_stored": "bytesStored"}
_ASKED = ["stored", "longest_gap", "last_end", "slowest_restore"]
_INDEXES = {
    "ix_backups_deleted_at_config_id": ("backups", ["deleted_at", "config_id", "id", "type", "finished_at", *_SIZES]),
    "ix_backup_copies_backup_id": (
        "backup_copies",
        ["backup_id", "destination_id", "state", "trashed_at", "verified_at"],
    ),
}


def upgrade() -> None:
    # Taken from the totals by the database itself: while an upgrade rolls on, processes of the version before write
    # rows too. SQLite keeps them in the index alone, which is as fast.
    is_kept = op.get_bind().dialect.name != "sqlite"
    for name, total in _SIZES.items():
        number = sa.cast(sa.column("totals", sa.JSON)[total].as_string(), sa.BigInteger)
        size = sa.Computed(sa.func.coalesce(number, 0), persisted=is_kept)
        op.add_column("backups", sa.Column(name, sa.BigInteger(), size, nullable=False))
    for name, (table, columns) in _INDEXES.items():
        op.create_index(name, table, columns)
    for name in _DURATIONS:
        op.add_column("day_figures", sa.Column(name, sa.Float(), nullable=True))
    op.create_index("ix_day_figures_day", "day_figures", ["day", "config_id", *_ASKED])
    op.create_table(
        "month_figures",
        sa.Column("config_id", sa.String(length=64), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("took", sa.JSON(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("longest_gap", sa.Float(), nullable=True),
        sa.Column("last_end", sa.Float(), nullable=True),
        sa.Column("slowest_restore", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("config_id", "month", name="pk_month_figures"),
    )
    op.create_index("ix_month_figures_month", "month_figures", ["month", "config_id", *_ASKED])
    if any(op.get_bind().execute(sa.text(f"SELECT id FROM {table} LIMIT 1")).first() for table in ("runs", "backups")):
        _add_up()


def _add_up() -> None:
    # The services know the newest tables alone: the next revision that changes one of these has to take this over.
    # Imported here and not above: a new database does without them.
    from webapp.services import figures

    with Session(op.get_bind()) as session:
        figures.rebuild(session)
        session.commit()  # the upgrade's own transaction goes on


def downgrade() -> None:
    op.drop_table("month_figures")
    op.drop_index("ix_day_figures_day", "day_figures")
    for name in _DURATIONS:
        op.drop_column("day_figures", name)
    for name, (table, _) in _INDEXES.items():
        op.drop_index(name, table)
    for name in _SIZES:
        op.drop_column("backups", name)
