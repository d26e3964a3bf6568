"""What is wrong with a page as a browser shows it: accessibility by axe, the console, width, weight, hosts, ids."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

from tests.webapp.reading import at_odds

WIDTHS = (320, 375, 768, 1024, 1440)
HEIGHT = 900
HTML_BYTES, NODES = 40_000, 1_500
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# What stands in closed details is not laid out: the tables under the charts cost nothing until somebody opens them.
_NODES = """document.querySelectorAll("*").length
    - document.querySelectorAll("details:not([open]) > :not(summary) *").length"""
_TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# Lists show their last column, where the buttons are, without being scrolled: from where they are cards up.
_ENDLESS = """[...document.querySelectorAll(".tw:has(> .rsp)")]
    .filter(each => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1)
    .map(each => each.getAttribute("aria-label") ?? each.getAttribute("aria-labelledby"))"""
_CLIPPED = """[...document.querySelectorAll("button, .btn, .st, .tag")]
    .filter(each => each.checkVisibility() && !each.classList.contains("vh") && each.scrollWidth > each.clientWidth + 1)
    .map(each => each.textContent.trim())"""
# Labels that begin left of their chart: those of the narrow one are the wide one's, and styled on their own.
_CUT = """[...document.querySelectorAll(".chart")].filter(each => each.checkVisibility() && each.getBBox().x < 0)
    .map(each => each.getAttribute("aria-labelledby"))"""
# Links that read the same and lead elsewhere: in a list of links nobody can tell them apart (WCAG 2.4.4). Not asked of
# the names of folders above, and of the page that shows each part twice.
_ALIKE = """(() => {
    const met = new Map();
    for (const each of document.querySelectorAll("main a[href]:not(nav *, .themed *)")) {
        const name = (each.getAttribute("aria-label") ?? each.textContent).replace(/\\s+/g, " ").trim();
        met.set(name, (met.get(name) ?? new Set()).add(each.href));
    }
    return [...met].filter(([name, where]) => name && where.size > 1).map(([name]) => name);
})()"""
# What is pressed: of a field with its words around it the words too. A link in the midst of a text is as high as that.
_SMALL = """(() => {
    const isInline = each => getComputedStyle(each).display === "inline";
    const isInText = each => {
        let around = each.parentElement;
        while (isInline(around)) around = around.parentElement;
        const beside = [...around.childNodes].filter(node => node.nodeType === 3 || (node.matches && isInline(node)));
        return isInline(each) && beside.map(node => node.textContent).join("").trim() !== each.textContent.trim();
    };
    return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
        .filter(each => each.checkVisibility({opacityProperty: true}) && !each.matches(".vh, .skip"))
        .filter(each => {
            const box = (each.closest("label") ?? each).getBoundingClientRect();
            return box.width < TARGET || box.height < TARGET;
        })
        .filter(each => !isInText(each)).map(each => each.outerHTML.slice(0, 120));
})()""".replace("TARGET", "24")


@dataclass
class Ears:
    """What a window complains of while it is open: errors of scripts, warnings, requests that leave the service."""

    complaints: list[str] = field(default_factory=list)

    def listen(self, context: BrowserContext, host: str) -> None:
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"script: {error.error}"))
        context.on("request", lambda request: self._asked(request, host))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request, host: str) -> None:
        if urlsplit(request.url).netloc not in (host, ""):
            self.complaints.append(f"foreign host: {request.url}")

    def taken(self) -> list[str]:
        """What was heard since the last time."""
        heard, self.complaints = self.complaints, []
        return heard


def faults(page: Page, answer: Response) -> list[str]:
    """What is wrong with the page that is open, at the width that it has."""
    found = _weight(page, answer)
    policy = answer.headers.get("content-security-policy", "")
    if "default-src 'none'" not in policy or "unsafe" in policy:
        found.append(f"policy: {policy}")
    return found + marks(page) + axe(page)


def marks(page: Page) -> list[str]:
    """What axe does not look for: ids, clipped words, labels and links, small targets."""
    found = at_odds(page.content())
    found += [f"clipped: {text}" for text in page.evaluate(_CLIPPED)]
    found += [f"cut: {name}" for name in page.evaluate(_CUT)]
    found += [f"reads like another link: {name}" for name in page.evaluate(_ALIKE)]
    found += [f"small: {text}" for text in page.evaluate(_SMALL)]
    return found


def too_wide(page: Page) -> list[str]:
    """The widths at which the whole page, or a list in it, scrolls sideways. The window keeps the last one."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        if page.evaluate(_TOO_WIDE):
            found.append(f"scrolls sideways at {width}")
        found += [f"the table {name} scrolls sideways at {width}" for name in page.evaluate(_ENDLESS)]
    return found


def axe(page: Page) -> list[str]:
    """What axe finds. Its script is evaluated: the pages' policy forbids to add it to them."""
    page.evaluate(_axe())
    result: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})", list(RULES)
    )
    return [
        f"axe {each['id']}: {', '.join(' '.join(node['target']) for node in each['nodes'][:3])}"
        for each in result["violations"]
    ]


def _weight(page: Page, answer: Response) -> list[str]:
    found = []
    size, nodes = len(answer.body()), page.evaluate(_NODES)
    if size > HTML_BYTES:
        found.append(f"{size} bytes of HTML")
    if nodes > NODES:
        found.append(f"{nodes} nodes")
    return found


@cache
def _axe() -> str:
    return importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
