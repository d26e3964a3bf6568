"""People and their tokens; what the audit log says of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from webapp.api import documents
from webapp.api.endpoint import Answer, Call, Routes
from webapp.api.schemas import (
    OPEN,
    TEXT,
    TIME,
    TOKEN,
    USER,
    Moment,
    Page,
    listed,
    or_null,
    page,
    page_of,
    read_cursor,
    read_moment,
    record,
)
from webapp.schema.fields import Label, Model
from webapp.services import accounts, audit, sessions, tokens
from webapp.services.access import require
from webapp.services.tokens import Wish

ROUTES = Routes()
Role = Literal["manager", "admin", "super_admin"]
Scope = Literal["read", "run", "admin", "super_admin"]
_ONE_TIME = record(user=USER, oneTimePassword=TEXT)
_LISTED_USERS = record(items=listed(USER), nextCursor=or_null(TEXT))
_SESSION = record(id=TEXT, address=TEXT, agent=TEXT, createdAt=TIME, seenAt=TIME)
_LISTED_SESSIONS = record(items=listed(_SESSION), nextCursor=or_null(TEXT))
_LISTED_TOKENS = record(items=listed(TOKEN), nextCursor=or_null(TEXT))


class NewUser(Model):
    """An account; its one-time password is in the answer."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    role: Role


class ChangeUser(Model):
    """Another role, or in and out."""

    role: Role | None = None
    enabled: bool | None = None


class NewToken(Model):
    """A token for a program. `expiresAt` is RFC 3339; `networks` in CIDR form, none: from anywhere."""

    name: Label
    scope: Scope
    expires_at: Moment | None = None
    networks: Annotated[
        list[Annotated[str, StringConstraints(max_length=64)]], Field(default_factory=list, max_length=50)
    ]


@ROUTES.add("GET", "/me", permission="account.own", answer=record(identity=TEXT, role=TEXT, scope=or_null(TEXT)))
def get_me(call: Call) -> Answer:
    """Who asks."""
    actor = call.actor
    return Answer({"identity": actor.identity, "role": actor.role, "scope": actor.scope})


@ROUTES.add("GET", "/users", permission="users.manage", answer=_LISTED_USERS)
def list_users(call: Call) -> Answer:
    """All accounts."""
    found = accounts.listing(call.installation)
    return Answer({"items": [documents.user(each) for each in found], "nextCursor": None})


@ROUTES.add("POST", "/users", permission="users.manage", body=NewUser, answer=_ONE_TIME, status=201, errors=(409,))
def add_user(call: Call) -> Answer:
    """A new account; its password is told once and must be changed at first sign-in."""
    made = accounts.add(call.installation, call.actor, call.body.name, call.body.role)
    return Answer({"user": documents.user(made.user), "oneTimePassword": made.password}, 201)


@ROUTES.add(
    "PATCH",
    "/users/<user_id>",
    permission="users.manage",
    body=ChangeUser,
    answer=USER,
    errors=(404, 409),
)
def change_user(call: Call) -> Answer:
    """Another role, or disabled or enabled again. The last super_admin stays."""
    asked, wanted = call.body, call.path["user_id"]
    user = accounts.find(call.installation, wanted)
    if asked.role is not None:
        user = accounts.set_role(call.installation, call.actor, wanted, asked.role)
    if asked.enabled is not None:
        change = accounts.enable if asked.enabled else accounts.disable
        user = change(call.installation, call.actor, wanted)
    return Answer(documents.user(user))


@ROUTES.add("POST", "/users/<user_id>/password", permission="users.manage", answer=_ONE_TIME, errors=(404,))
def reset_password(call: Call) -> Answer:
    """A one-time password for somebody who lost theirs; sessions and second factor end."""
    made = accounts.reset_password(call.installation, call.actor, call.path["user_id"])
    return Answer({"user": documents.user(made.user), "oneTimePassword": made.password})


@ROUTES.add("GET", "/tokens", permission="account.own", answer=_LISTED_TOKENS)
def list_tokens(call: Call) -> Answer:
    """One's own tokens; a super_admin sees everybody's."""
    only = None if call.actor.may("tokens.others") else call.actor.user_id
    found = tokens.listing(call.installation, user_id=only)
    return Answer({"items": [documents.token(each) for each in found], "nextCursor": None})


@ROUTES.add(
    "POST",
    "/tokens",
    permission="account.own",
    body=NewToken,
    answer=record(token=TOKEN, secret=TEXT),
    status=201,
    errors=(409,),
)
def create_token(call: Call) -> Answer:
    """A token that acts for its maker, with no more than the asking token's scope. The secret is told once."""
    asked = call.body
    assert call.actor.user_id is not None
    user = accounts.fetch(call.installation, call.actor.user_id)
    wish = Wish(asked.name, asked.scope, read_moment(asked.expires_at, "/expiresAt"), tuple(asked.networks))
    made = tokens.create(call.installation, call.actor, user, wish)
    return Answer({"token": documents.token(made.token), "secret": made.secret}, 201)


@ROUTES.add("DELETE", "/tokens/<token_id>", permission="account.own", answer=None, status=204, errors=(404,))
def revoke_token(call: Call) -> Answer:
    """Ends a token at once."""
    tokens.revoke(call.installation, call.actor, call.path["token_id"])
    return Answer(None, 204)


@ROUTES.add("GET", "/sessions", permission="account.own", answer=_LISTED_SESSIONS)
def list_sessions(call: Call) -> Answer:
    """One's own living sessions of browsers, newest first."""
    assert call.actor.user_id is not None
    found = sessions.listing(call.installation, call.actor.user_id)
    items = [
        {
            "id": each.public_id,
            "address": each.address,
            "agent": each.agent,
            "createdAt": each.created_at,
            "seenAt": each.seen_at,
        }
        for each in found
    ]
    return Answer({"items": items, "nextCursor": None})


@ROUTES.add("DELETE", "/sessions/<session_id>", permission="account.own", answer=None, status=204, errors=(404,))
def end_session(call: Call) -> Answer:
    """Ends one of one's own sessions at once."""
    sessions.end(call.installation, call.actor, call.path["session_id"])
    return Answer(None, 204)


@ROUTES.add("GET", "/audit", permission="account.own", query=Page, answer=page_of(OPEN))
def list_audit(call: Call) -> Answer:
    """The audit log, newest first: one's own entries; a super_admin sees all."""
    require(call.actor, "account.own")
    asked = call.query
    rows = audit.listing(call.installation, call.actor, after=read_cursor(asked.cursor), limit=asked.limit + 1)
    found = page(rows, asked.limit, lambda row: row.sequence)
    return Answer({**found, "items": [audit.described(row) for row in found["items"]]})
