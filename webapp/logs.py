"""Logs are JSON lines on stderr: one object a line, made so that no text can begin a line of its own."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """`{"at", "level", "process", "logger", "message", …}`, with what a call gives as `extra`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(process: str) -> None:
    """All loggers of this process write so; `process` is its part in the service, such as `worker backup`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("rq.worker", "rq.job", "rq_scheduler.scheduler"):
        # RQ colours its lines and adds handlers of its own where a logger has none.
        logger = logging.getLogger(noisy)
        logger.handlers[:] = [logging.NullHandler()]
        logger.setLevel(logging.WARNING)
        logger.propagate = True
