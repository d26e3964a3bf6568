"""What an endpoint declares, and the one way in which all of them are carried out: read, check, act, answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from flask import Response, g, request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from webapp.clock import rfc3339
from webapp.errors import Fault, Faulty, Unreadable, WrongMedia
from webapp.extensions import installation
from webapp.installation import Installation
from webapp.schema import document as strict
from webapp.security import needs
from webapp.services import destination_names, idempotency
from webapp.services.access import Actor

IDEMPOTENCY = "Idempotency-Key"


class Query(BaseModel):
    """Base of what may stand behind the question mark: texts, turned into what the fields say; unknown names are
    refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True)


@dataclass(frozen=True)
class Call:
    """One request, checked. `document` is the body as it was sent, `path` what the path names."""

    installation: Installation
    actor: Actor
    path: Mapping[str, str]
    body: Any = None
    query: Any = None
    document: Any = None


@dataclass(frozen=True)
class Answer:
    """What an endpoint says: a document (None: nothing) or a response as it is, a status, headers."""

    document: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """One row of the API. `answer` is the JSON schema of what it says when all is well, `status` that answer's;
    `media` its kind; `errors` the statuses beyond those that every endpoint has."""

    method: str
    path: str
    permission: str
    handler: Callable[[Call], Answer]
    answer: Mapping[str, Any] | None
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[Query] | None = None
    errors: tuple[int, ...] = ()
    starts_work: bool = False
    headers: tuple[str, ...] = ()
    media: str = "application/json"

    @property
    def name(self) -> str:
        """The operation's id."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]


_Handler = TypeVar("_Handler", bound=Callable[[Call], Answer])


class Routes(list[Endpoint]):
    """The endpoints of a module."""

    def add(self, method: str, path: str, **declared: Any) -> Callable[[_Handler], _Handler]:
        """Declares the function below to be an endpoint."""

        def keep(handler: _Handler) -> _Handler:
            self.append(Endpoint(method, path, handler=handler, **declared))
            return handler

        return keep


def view_of(endpoint: Endpoint) -> Callable[..., Response]:
    """The view of an endpoint, for Flask."""

    @needs(endpoint.permission)
    def view(**path: str) -> Response:
        document = _body() if endpoint.body is not None else None
        call = Call(
            installation(),
            g.actor,
            path,
            body=None if endpoint.body is None else _checked(endpoint.body, document),
            query=None if endpoint.query is None else _checked(endpoint.query, _query(), texts=True),
            document=document,
        )
        if endpoint.starts_work and request.headers.get(IDEMPOTENCY):
            return _respond(_once(endpoint, call))
        return _respond(_for(call, endpoint.handler(call)))

    return view


def _once(endpoint: Endpoint, call: Call) -> Answer:
    """A request that is sent again gets the first answer again. What failed may be tried again with the same key."""
    key = request.headers[IDEMPOTENCY]
    body = json.dumps([request.method, request.full_path, call.document], sort_keys=True)
    claim = idempotency.claim(
        call.installation, call.actor, key, hashlib.sha256(body.encode("utf-8", "backslashreplace")).hexdigest()
    )
    if claim.status is not None:
        return Answer(claim.body, claim.status, {} if claim.location is None else {"Location": claim.location})
    try:
        answer = _for(call, endpoint.handler(call))
    except BaseException:
        idempotency.forget(call.installation, claim)
        raise
    plain = json.loads(text_of(answer.document))
    idempotency.keep(call.installation, claim, answer.status, plain, answer.headers.get("Location"))
    return answer


def _for(call: Call, answer: Answer) -> Answer:
    """As this caller may read it: where backups lie is not for everybody, and destinations without a name are called
    after it."""
    if isinstance(answer.document, Response):
        return answer
    names = destination_names.shown_names(call.installation, call.actor)
    return replace(answer, document=destination_names.renamed(answer.document, names)) if names else answer


def _body() -> Any:
    """The JSON of the request. No body at all is an empty object."""
    data = request.get_data(cache=False)
    if not data:
        return {}
    if request.mimetype != "application/json":
        raise WrongMedia("The body must be JSON.", hint="Send `Content-Type: application/json`.")
    try:
        found = strict.loads(data)
    except ValueError as error:
        raise Unreadable("The body cannot be read.", [Fault("", str(error))]) from None
    return found


def _query() -> dict[str, str]:
    """What stands behind the question mark. Bytes that are not UTF-8 become lone surrogates, as in names of files."""
    pairs = parse_qsl(
        request.query_string.decode("utf-8", "surrogateescape"), keep_blank_values=True, errors="surrogateescape"
    )
    return dict(reversed(pairs))


def _checked(model: type[BaseModel], document: Any, *, texts: bool = False) -> Any:
    try:
        return model.model_validate(document, strict=None if not texts else False)
    except ValidationError as error:
        what = "The query does" if texts else "The body does"
        raise Faulty(f"{what} not fit.", strict.faults(error, document)) from None


def _respond(answer: Answer) -> Response:
    if isinstance(answer.document, Response):
        return answer.document
    if answer.status == 204:
        return Response(status=204, headers=dict(answer.headers))
    return Response(text_of(answer.document), answer.status, dict(answer.headers), content_type="application/json")


def text_of(document: Any) -> str:
    """JSON. File names of any bytes hold lone surrogates, which are no UTF-8: they are escaped."""
    text = json.dumps(document, ensure_ascii=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, ensure_ascii=True, default=_plain)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
