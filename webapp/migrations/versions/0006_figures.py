"""Figures over long histories: an index for the restore points that are left."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NAME = "ix_backups_config_id_deleted_at"


def upgrade() -> None:
    op.create_index(_NAME, "backups", ["config_id", "deleted_at"])


def downgrade() -> None:
    op.drop_index(_NAME, "backups")
