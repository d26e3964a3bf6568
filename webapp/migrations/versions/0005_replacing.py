"""Restores that replace: plans, and the journal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ONE_AT_WORK = sa.text("state IN ('preparing', 'swapping', 'undoing')")


def upgrade() -> None:
    _plans()
    _journal()


def downgrade() -> None:
    op.drop_table("replacements")
    op.drop_table("restore_plans")


def _time() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _plans() -> None:
    op.create_table(
        "restore_plans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("backup_id", sa.String(length=32), nullable=False),
        sa.Column("identity", sa.String(length=200), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("place", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("expires_at", _time(), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_restore_plans"),
        sa.UniqueConstraint("public_id", name="uq_restore_plans_public_id"),
    )
    op.create_index("ix_restore_plans_expires_at", "restore_plans", ["expires_at"])


def _journal() -> None:
    op.create_table(
        "replacements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("plan_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("kept", sa.Text(), nullable=True),
        sa.Column("kept_until", _time(), nullable=True),
        sa.Column("previous_backup_id", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("updated_at", _time(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["restore_plans.id"], name="fk_replacements_plan_id"),
        sa.PrimaryKeyConstraint("id", name="pk_replacements"),
        sa.UniqueConstraint("public_id", name="uq_replacements_public_id"),
    )
    op.create_index("ix_replacements_state", "replacements", ["state"])
    op.create_index(
        "one_replacement_at_work",
        "replacements",
        ["key"],
        unique=True,
        sqlite_where=_ONE_AT_WORK,
        postgresql_where=_ONE_AT_WORK,
    )
