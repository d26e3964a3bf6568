"""E-mail: one message with a plain and an HTML form, by SMTP. What comes from outside never becomes a header line."""

from __future__ import annotations

import re
import smtplib
import ssl
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from webapp.notify.message import Message, NotSent

TIMEOUT_SECONDS = 30
SUBJECT_CHARACTERS = 150
_COMMAND = re.compile(r"`([^`]+)`")
_TEMPLATES = Path(__file__).resolve().parent.parent / "templates" / "mail"


def send(smtp_url: str | None, sender: str | None, recipient: str, message: Message, *, at: datetime) -> None:
    """Sends to one address. Raises NotSent."""
    if smtp_url is None:
        raise NotSent("HOLDFAST_SMTP_URL is not set, so no mail can be sent.")
    server = urlsplit(smtp_url)
    mail = compose(sender or f"holdfast@{server.hostname or 'localhost'}", recipient, message, at=at)
    try:
        with _connection(server) as connection:
            if server.username:
                connection.login(unquote(server.username), unquote(server.password or ""))
            connection.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code = next((answer[0] for answer in error.recipients.values()), 550)
        raise NotSent(f"The mail server refused the address ({code}).", permanent=code >= 500) from None
    except smtplib.SMTPAuthenticationError:
        raise NotSent("The mail server refused the login of HOLDFAST_SMTP_URL.") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"The mail server answered {error.smtp_code}.") from None
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise NotSent(f"The mail server cannot be used ({type(error).__name__}).") from None


def compose(sender: str, recipient: str, message: Message, *, at: datetime) -> EmailMessage:
    """The mail itself. Raises NotSent for an address that is none."""
    mail = EmailMessage()
    try:
        mail["From"] = Address("Holdfast", addr_spec=sender)
        mail["To"] = Address(addr_spec=recipient)
    except (ValueError, IndexError, MessageError):
        raise NotSent("This is not an e-mail address.", permanent=True) from None
    mail["Subject"] = one_line(message.subject)[:SUBJECT_CHARACTERS]
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = make_msgid(domain="holdfast.invalid")
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text())
    mail.add_alternative(html(message), subtype="html")
    return mail


def html(message: Message) -> str:
    """The HTML form. Everything in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters["commands"] = _commands
    return environment.get_template("message.html").render(message=message)


def _commands(text: str) -> Any:
    """What stands between backticks is a command to type, and looks like one."""
    from markupsafe import Markup, escape

    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))


def one_line(text: str) -> str:
    """`text` without anything that could begin another line."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _connection(server: Any) -> smtplib.SMTP:
    host = server.hostname or "localhost"
    if server.scheme == "smtps":
        return smtplib.SMTP_SSL(host, server.port or 465, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    connection = smtplib.SMTP(host, server.port or 25, timeout=TIMEOUT_SECONDS)
    connection.ehlo()
    if connection.has_extn("starttls"):
        connection.starttls(context=ssl.create_default_context())
    elif server.username and parse_qs(server.query).get("tls") != ["off"]:
        connection.close()
        raise NotSent("The mail server offers no encryption, so no password is sent to it; ?tls=off allows that.")
    return connection
