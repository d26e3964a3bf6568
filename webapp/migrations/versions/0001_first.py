"""The first tables: configurations, destinations, runs, restore points, copies, verifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ONE_ACTIVE = sa.text("kind = 'create' AND state IN ('queued', 'running')")


def upgrade() -> None:
    _configurations()
    _destinations()
    _runs()
    _backups()
    _run_problems()
    _backup_copies()
    _verifications()


def downgrade() -> None:
    for table in (
        "verifications",
        "backup_copies",
        "run_problems",
        "backups",
        "runs",
        "destinations",
        "configurations",
    ):
        op.drop_table(table)


def _time() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _configurations() -> None:
    op.create_table(
        "configurations",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("source_fingerprint", sa.String(length=64), nullable=True),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("updated_at", _time(), nullable=False),
        sa.Column("deleted_at", _time(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_configurations"),
    )


def _destinations() -> None:
    op.create_table(
        "destinations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("repository_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("checked_at", _time(), nullable=True),
        sa.Column("deleted_at", _time(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_destinations"),
        sa.UniqueConstraint("name", name="uq_destinations_name"),
        sa.UniqueConstraint("place", name="uq_destinations_place"),
        sa.UniqueConstraint("repository_id", name="uq_destinations_repository_id"),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("config_id", sa.String(length=64), nullable=True),
        sa.Column("backup_id", sa.String(length=32), nullable=True),
        sa.Column("type", sa.String(length=16), nullable=True),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("identity", sa.String(length=200), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("process", sa.String(length=255), nullable=True),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("started_at", _time(), nullable=True),
        sa.Column("finished_at", _time(), nullable=True),
        sa.Column("heartbeat_at", _time(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False),
        sa.Column("bytes_stored", sa.BigInteger(), nullable=False),
        sa.Column("problem_count", sa.Integer(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("cause", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["config_id"], ["configurations.id"], name="fk_runs_config_id"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("public_id", name="uq_runs_public_id"),
    )
    op.create_index("ix_runs_config_id_id", "runs", ["config_id", "id"], unique=False)
    op.create_index("ix_runs_created_at", "runs", ["created_at"], unique=False)
    op.create_index("ix_runs_state_id", "runs", ["state", "id"], unique=False)
    op.create_index(
        "one_active_create", "runs", ["config_id"], unique=True, sqlite_where=_ONE_ACTIVE, postgresql_where=_ONE_ACTIVE
    )


def _backups() -> None:
    op.create_table(
        "backups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("config_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("manifest_hash", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("parent_id", sa.String(length=32), nullable=True),
        sa.Column("started_at", _time(), nullable=False),
        sa.Column("finished_at", _time(), nullable=False),
        sa.Column("totals", sa.JSON(), nullable=False),
        sa.Column("databases", sa.JSON(), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("problem_count", sa.Integer(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("program", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("deleted_at", _time(), nullable=True),
        sa.ForeignKeyConstraint(["config_id"], ["configurations.id"], name="fk_backups_config_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_backups_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
        sa.UniqueConstraint("public_id", name="uq_backups_public_id"),
    )
    op.create_index("ix_backups_config_id_sequence", "backups", ["config_id", "sequence"], unique=False)
    op.create_index("ix_backups_finished_at", "backups", ["finished_at"], unique=False)


def _run_problems() -> None:
    op.create_table(
        "run_problems",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_problems_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_problems"),
    )


def _backup_copies() -> None:
    op.create_table(
        "backup_copies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backup_id", sa.Integer(), nullable=False),
        sa.Column("destination_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("verified_at", _time(), nullable=True),
        sa.ForeignKeyConstraint(["backup_id"], ["backups.id"], name="fk_backup_copies_backup_id"),
        sa.ForeignKeyConstraint(["destination_id"], ["destinations.id"], name="fk_backup_copies_destination_id"),
        sa.PrimaryKeyConstraint("id", name="pk_backup_copies"),
    )
    op.create_index("ix_backup_copies_destination_id", "backup_copies", ["destination_id"], unique=False)
    op.create_index("one_copy_per_destination", "backup_copies", ["backup_id", "destination_id"], unique=True)


def _verifications() -> None:
    op.create_table(
        "verifications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("backup_id", sa.Integer(), nullable=True),
        sa.Column("destination_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("read_percent", sa.Integer(), nullable=False),
        sa.Column("objects_checked", sa.BigInteger(), nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.JSON(), nullable=False),
        sa.Column("finished_at", _time(), nullable=False),
        sa.ForeignKeyConstraint(["backup_id"], ["backups.id"], name="fk_verifications_backup_id"),
        sa.ForeignKeyConstraint(["destination_id"], ["destinations.id"], name="fk_verifications_destination_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_verifications_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_verifications"),
    )
    op.create_index(
        "ix_verifications_backup_id_finished_at", "verifications", ["backup_id", "finished_at"], unique=False
    )
    op.create_index("ix_verifications_run_id", "verifications", ["run_id"], unique=False)
