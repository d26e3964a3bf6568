"""Download links: who may fetch what, once, until when; and what was exported to a bucket for one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "download_links",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("backup_id", sa.String(length=32), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("form", sa.String(length=8), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=True),
        sa.Column("destination_id", sa.Integer(), nullable=True),
        sa.Column("object", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_download_links_user_id"),
        sa.ForeignKeyConstraint(["destination_id"], ["destinations.id"], name="fk_download_links_destination_id"),
        sa.PrimaryKeyConstraint("id", name="pk_download_links"),
        sa.UniqueConstraint("public_id", name="uq_download_links_public_id"),
        sa.UniqueConstraint("secret_hash", name="uq_download_links_secret_hash"),
    )
    op.create_index("ix_download_links_expires_at", "download_links", ["expires_at"])


def downgrade() -> None:
    op.drop_table("download_links")
