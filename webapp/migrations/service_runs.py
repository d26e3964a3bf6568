"""The part of revision 0003 that lets runs be queued, scheduled and followed; called by versions/0003_service.py."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """Adds what runs need for the queue, and the tables of schedules, lines and events."""
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("queue", sa.String(length=128), nullable=True))
        runs.add_column(sa.Column("scheduled_for", _time(), nullable=True))
        runs.add_column(sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"))
        runs.add_column(sa.Column("retry_of", sa.String(length=32), nullable=True))
        runs.add_column(sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.create_index("one_run_per_slot", "runs", ["config_id", "scheduled_for"], unique=True)
    op.create_index("one_retry_per_run", "runs", ["retry_of"], unique=True)
    op.create_table(
        "schedules",
        sa.Column("config_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("expression", sa.String(length=200), nullable=True),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("next_at", _time(), nullable=True),
        sa.Column("paused_at", _time(), nullable=True),
        sa.Column("missed_at", _time(), nullable=True),
        sa.ForeignKeyConstraint(["config_id"], ["configurations.id"], name="fk_schedules_config_id"),
        sa.PrimaryKeyConstraint("config_id", name="pk_schedules"),
    )
    op.create_table(
        "run_lines",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_lines_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_lines"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("config_id", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.Column("handled_at", _time(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_handled_at", "events", ["handled_at", "id"])


def downgrade() -> None:
    """Takes all of it away again."""
    for table in ("events", "run_lines", "schedules"):
        op.drop_table(table)
    op.drop_index("one_retry_per_run", "runs")
    op.drop_index("one_run_per_slot", "runs")
    with op.batch_alter_table("runs") as runs:
        for column in ("sealed", "retry_of", "attempt", "scheduled_for", "queue"):
            runs.drop_column(column)


def _time() -> sa.DateTime:
    return sa.DateTime(timezone=True)
