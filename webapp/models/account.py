"""Who may come in: people, their sessions in browsers, their tokens for programs, and the limits of guessing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from webapp.models.base import Base


class User(Base):
    """A person. `public_id` is `us_…`; `name` is lower-case and what they sign in with. `totp_sealed` is the secret of
    the second factor, which counts from `totp_confirmed_at`; `totp_step` is the newest time step whose code was used.
    From `disabled_at` on they cannot come in; the row stays, because the audit log names it."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str] = mapped_column(String(255))
    must_change_password: Mapped[bool] = mapped_column(default=False)
    totp_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    totp_confirmed_at: Mapped[datetime | None]
    totp_step: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime]
    signed_in_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]

    @property
    def has_second_factor(self) -> bool:
        """Whether a code is asked for at sign-in."""
        return self.totp_confirmed_at is not None

    @property
    def is_enabled(self) -> bool:
        """Whether they may come in at all."""
        return self.disabled_at is None


class RecoveryCode(Base):
    """A code that stands in for the second factor once. `code_hash` is a SHA-256 (64 hex digits) of 80 random bits."""

    __tablename__ = "recovery_codes"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    code_hash: Mapped[str] = mapped_column(String(64))
    used_at: Mapped[datetime | None]


class WebSession(Base):
    """A browser that is signed in. `public_id` is `se_…`; of the secret in its cookie only the SHA-256 is kept."""

    __tablename__ = "web_sessions"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    address: Mapped[str] = mapped_column(String(64))
    agent: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class ApiToken(Base):
    """A token of a program, which acts for its user with the lesser of the user's role and `scope` (a role).
    `public_id` is `tk_…`; `prefix` is the visible beginning of the token, of which only the SHA-256 is kept;
    `networks` are CIDR texts, empty for anywhere."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    public_id: Mapped[str] = mapped_column(String(32), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(16))
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[str] = mapped_column(String(16))
    networks: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    used_from: Mapped[str | None] = mapped_column(String(64))
    revoked_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class Throttle(Base):
    """How often something was guessed wrong of late: `key` is a hash of an account's name or of an address."""

    __tablename__ = "throttles"

    key: Mapped[str] = mapped_column(String(80), primary_key=True)
    failures: Mapped[int]
    failed_at: Mapped[datetime]


class IdempotencyKey(Base):
    """A request that starts work and may be sent again. `request_hash` is a SHA-256 of method, path and body; `status`
    is None while it is carried out for the first time."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("one_use_of_a_key", "user_id", "key", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    key: Mapped[str] = mapped_column(String(200))
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None]
    location: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
