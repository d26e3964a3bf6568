"""Pages among 100,000 runs: the newest run of a kind, the restore points and copies that are left."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_MADE = (
    ("ix_runs_kind_state_id", "runs", ("kind", "state", "id")),
    ("ix_runs_config_id_kind_id", "runs", ("config_id", "kind", "id")),
    ("ix_backups_deleted_at_finished_at", "backups", ("deleted_at", "finished_at", "id")),
    (
        "ix_backup_copies_state_trashed_at",
        "backup_copies",
        ("state", "trashed_at", "backup_id", "destination_id", "verified_at"),
    ),
)


def upgrade() -> None:
    for name, table, columns in _MADE:
        op.create_index(name, table, list(columns))


def downgrade() -> None:
    for name, table, _ in _MADE:
        op.drop_index(name, table)
