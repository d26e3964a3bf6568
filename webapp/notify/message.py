"""What is told, before it becomes a mail or a line in a channel; and what can go wrong on its way."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, WARNING, BAD = "good", "warning", "bad"


@dataclass(frozen=True)
class Message:
    """`subject` is one line. `facts` are (label, value) for a table; `reason` says what happened, `advice` what to do.
    Nothing in it is a secret."""

    tone: str
    subject: str
    headline: str
    facts: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    advice: str = ""
    problems: tuple[str, ...] = ()
    link: str = ""
    footer: str = ""

    def text(self) -> str:
        """The whole message as plain text."""
        width = max((len(label) for label, _ in self.facts), default=0)
        parts = [
            self.headline,
            self.reason and f"What happened: {self.reason}",
            self.advice and f"What to do: {self.advice}",
            "\n".join(f"{label:<{width}}  {value}" for label, value in self.facts),
            "\n".join(f"- {problem}" for problem in self.problems),
            self.link,
            self.footer and f"-- \n{self.footer}",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


class NotSent(Exception):
    """It did not arrive. `permanent`: it never will this way. The sentence holds no secret."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
