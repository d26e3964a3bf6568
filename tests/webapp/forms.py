"""What a browser would do with the forms of a page: read their fields, change some, send them."""

from __future__ import annotations

import html
import re
from typing import Any

from tests.webapp.shelf import Shelf
from tests.webapp.site import Browser
from webapp.services import configurations


def words(text: str) -> str:
    """What a page says, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def page(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, words(answer.text)[:300]
    return answer.text


def fields(text: str) -> dict[str, str]:
    """What a browser would send of the form in <main>, but for its buttons."""
    form = text[text.index("<main") :]
    found: dict[str, str] = {}
    for tag in re.finditer(r"<input[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag[0]))
        is_off = attributes.get("type") == "checkbox" and not re.search(r"\bchecked\b", tag[0])
        if "name" in attributes and not is_off:
            found[attributes["name"]] = html.unescape(attributes.get("value", ""))
    for name, value in re.findall(r'<textarea[^>]*?name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        found[name] = html.unescape(value).removeprefix("\r\n").removeprefix("\n")
    for name, options in re.findall(r'<select[^>]*?name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option selected value="([^"]*)"', options) or re.search(r'value="([^"]*)"', options)
        found[name] = html.unescape(chosen[1]) if chosen else ""
    return found


def send(browser: Browser, path: str, text: str, *, do: str, **changes: str) -> Any:
    """Sends the form of a page with changes, by the button `do`; `a__b` stands for the field a-b."""
    changed = {name.replace("__", "-"): value for name, value in changes.items()}
    return browser.client.post(path, data={**fields(text), **changed, "do": do})


def stored(shelf: Shelf, config_id: str = "shop") -> dict[str, Any]:
    return configurations.typed(shelf.installation, configurations.find(shelf.installation, config_id))
