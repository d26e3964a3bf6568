"""Figures of each day; 0013 adds up what is there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COVERED = ["config_id", "day", "stored", "longest_gap", "last_end", "slowest_restore"]


def upgrade() -> None:
    op.create_table(
        "day_figures",
        sa.Column("config_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("sums", sa.JSON(), nullable=False),
        sa.Column("took", sa.JSON(), nullable=False),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("longest_gap", sa.Float(), nullable=True),
        sa.Column("last_end", sa.Float(), nullable=True),
        sa.Column("slowest_restore", sa.Float(), nullable=True),
        sa.Column("checked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("config_id", "day", name="pk_day_figures"),
    )
    op.create_index("ix_day_figures_config_id_day", "day_figures", _COVERED)
    op.create_index("ix_runs_config_id_created_at", "runs", ["config_id", "created_at"])
    op.create_index("ix_backups_config_id_finished_at", "backups", ["config_id", "finished_at"])


def downgrade() -> None:
    op.drop_index("ix_backups_config_id_finished_at", "backups")
    op.drop_index("ix_runs_config_id_created_at", "runs")
    op.drop_table("day_figures")
