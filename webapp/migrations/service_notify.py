"""The part of revision 0003 that keeps what has to be told to whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """Adds deliveries and silenced recipients."""
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("config_id", sa.String(length=64), nullable=True),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("shown", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("due_at", _time(), nullable=False),
        sa.Column("sent_at", _time(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_deliveries_event_id"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("one_delivery_per_event", "deliveries", ["event_id", "recipient"], unique=True)
    op.create_index("ix_deliveries_state_due_at", "deliveries", ["state", "due_at"])
    op.create_index("ix_deliveries_config_id_recipient", "deliveries", ["config_id", "recipient", "id"])
    op.create_table(
        "silenced_recipients",
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("shown", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("recipient", name="pk_silenced_recipients"),
    )


def downgrade() -> None:
    """Takes them away again."""
    op.drop_table("silenced_recipients")
    op.drop_table("deliveries")


def _time() -> sa.DateTime:
    return sa.DateTime(timezone=True)
