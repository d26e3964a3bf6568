"""What keeps restore points for years: holds on them, the trash, and who prunes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ONE_CLEANUP = sa.text("kind = 'cleanup' AND state IN ('queued', 'running')")


def upgrade() -> None:
    _holds()
    _trash()
    _marks()
    _witness()


def downgrade() -> None:
    op.drop_table("alarms")
    with op.batch_alter_table("destinations") as destinations:
        destinations.drop_column("marked_at")
        destinations.drop_column("mark_id")
    with op.batch_alter_table("backup_copies") as copies:
        copies.drop_column("stamp")
        copies.drop_column("removal_reason")
        copies.drop_column("trashed_at")
    op.drop_index("one_active_cleanup", "runs")
    op.drop_table("holds")


def _time() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backup_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("identity", sa.String(length=200), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("until_at", _time(), nullable=True),
        sa.ForeignKeyConstraint(["backup_id"], ["backups.id"], name="fk_holds_backup_id"),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
        sa.UniqueConstraint("backup_id", name="uq_holds_backup_id"),
    )


def _trash() -> None:
    with op.batch_alter_table("backup_copies") as copies:
        copies.add_column(sa.Column("trashed_at", _time(), nullable=True))
        copies.add_column(sa.Column("removal_reason", sa.Text(), nullable=True))
    op.create_index(
        "one_active_cleanup", "runs", ["kind"], unique=True, sqlite_where=_ONE_CLEANUP, postgresql_where=_ONE_CLEANUP
    )


def _marks() -> None:
    with op.batch_alter_table("destinations") as destinations:
        destinations.add_column(sa.Column("mark_id", sa.String(length=32), nullable=True))
        destinations.add_column(sa.Column("marked_at", _time(), nullable=True))


def _witness() -> None:
    with op.batch_alter_table("backup_copies") as copies:
        copies.add_column(sa.Column("stamp", sa.String(length=64), nullable=True))
    op.create_table(
        "alarms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("destination_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("backup", sa.String(length=32), nullable=True),
        sa.Column("found_at", _time(), nullable=False),
        sa.Column("told_at", _time(), nullable=True),
        sa.ForeignKeyConstraint(["destination_id"], ["destinations.id"], name="fk_alarms_destination_id"),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
    )
    op.create_index("one_alarm_per_object", "alarms", ["destination_id", "kind", "object"], unique=True)
