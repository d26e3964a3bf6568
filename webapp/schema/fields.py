"""The building blocks of the schema's models: the strict base and the kinds of text that configurations hold."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from webapp.schema import database_urls, placeholders, times

ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
MAX_TEXT = 4096
MAX_ITEMS = 1000
_EMAIL = re.compile(r"[^@\s\"<>,;:]+@[^@\s\"<>,;:/]+\.[^@\s\"<>,;:/.]+")
_CHANNEL = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://\S+")


class Model(BaseModel):
    """Unknown keys are refused, nothing is converted, names outside are camelCase."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        defer_build=True,  # takes a tenth of a command's start, and few commands validate
        hide_input_in_errors=True,
    )


def misfit(at: str, sentence: str) -> PydanticCustomError:
    """The error of a whole model that is really about one place in it: `at` is a pointer below the model."""
    return PydanticCustomError("misfit", "misfit", {"at": at, "sentence": sentence})


def _one_line(text: str) -> str:
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        raise ValueError("must not hold line breaks or control characters.")
    return text


def _no_placeholder(text: str) -> str:
    if "${" in text:
        raise ValueError("cannot hold a ${NAME}; placeholders work in sources, destinations, recipients and pingUrl.")
    return text


def _placeholders(text: str) -> str:
    detail = placeholders.fault(text)
    if detail:
        raise ValueError(detail)
    return text


def _cron(text: str) -> str:
    detail = times.cron_fault(text)
    if detail:
        raise ValueError(detail)
    return text


def _zone(text: str) -> str:
    detail = times.zone_fault(text)
    if detail:
        raise ValueError(detail)
    return text


def _recipient(text: str) -> str:
    if placeholders.names(text) or _EMAIL.fullmatch(text) or _CHANNEL.fullmatch(text):
        return text
    raise ValueError("must be an e-mail address or an Apprise URL such as slack://….")


def _database_url(text: str) -> str:
    if not placeholders.is_whole(text) and not database_urls.is_known(text):
        raise ValueError(f"must begin with {database_urls.NEEDED} (or be a ${{NAME}} that holds such a URL).")
    if database_urls.is_sqlite(text):
        database_urls.sqlite_path(text)
    return text


def _absolute(text: str) -> str:
    if text.startswith(("/", "${")):
        return text
    raise ValueError("must be an absolute path (or begin with a ${NAME} that holds one).")


def _web_address(text: str) -> str:
    if text.startswith(("https://", "http://")) or placeholders.is_whole(text):
        return text
    raise ValueError("must begin with https:// or http:// (or be a ${NAME} that holds such an address).")


_Short = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]
_Long = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), AfterValidator(_one_line)]

Id = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[_Short, AfterValidator(_no_placeholder)]
Label = Annotated[_Short, AfterValidator(_no_placeholder)]
Open = Annotated[_Long, AfterValidator(_placeholders)]
"""Text that may hold `${NAME}`."""
Plain = Annotated[_Long, AfterValidator(_no_placeholder)]
Cron = Annotated[_Short, AfterValidator(_cron)]
Zone = Annotated[_Short, AfterValidator(_zone)]
Recipient = Annotated[Open, AfterValidator(_recipient)]
DatabaseUrl = Annotated[Open, AfterValidator(_database_url)]
AbsolutePath = Annotated[Open, AfterValidator(_absolute)]
WebAddress = Annotated[Open, AfterValidator(_web_address)]
Count = Annotated[int, Field(ge=0, le=10_000)]
Minutes = Annotated[int, Field(ge=1, le=5_256_000)]
