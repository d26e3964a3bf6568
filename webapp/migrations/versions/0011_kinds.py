"""The last restore among 100,000 runs: an index for runs of one kind."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_NAME = "ix_runs_kind_id"


def upgrade() -> None:
    op.create_index(_NAME, "runs", ["kind", "id"])


def downgrade() -> None:
    op.drop_index(_NAME, "runs")
