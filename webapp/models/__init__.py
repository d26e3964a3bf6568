"""Rows only: columns, relations and read-only properties. What changes them is in webapp/services.

A model is imported when it is first asked for: to map all of them takes a sixth of a command's start. Whoever asks here
for `Base` means the whole database and gets it with every table.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webapp.models.account import ApiToken, IdempotencyKey, RecoveryCode, Throttle, User, WebSession
    from webapp.models.alarm import Alarm
    from webapp.models.audit import AuditEntry
    from webapp.models.backup import Backup, BackupCopy, Hold
    from webapp.models.base import Base
    from webapp.models.configuration import Configuration
    from webapp.models.destination import Destination
    from webapp.models.download import DownloadLink
    from webapp.models.event import Event
    from webapp.models.figures import DayFigures, MonthFigures
    from webapp.models.notification import Delivery, SilencedRecipient
    from webapp.models.pulse import Pulse
    from webapp.models.replacement import Replacement, RestorePlan
    from webapp.models.run import Run, RunLine, RunPhase, RunProblem
    from webapp.models.schedule import Schedule
    from webapp.models.verification import Verification

__all__ = [
    "Alarm",
    "ApiToken",
    "AuditEntry",
    "Backup",
    "BackupCopy",
    "Base",
    "Configuration",
    "DayFigures",
    "Delivery",
    "Destination",
    "DownloadLink",
    "Event",
    "Hold",
    "IdempotencyKey",
    "MonthFigures",
    "Pulse",
    "RecoveryCode",
    "Replacement",
    "RestorePlan",
    "Run",
    "RunLine",
    "RunPhase",
    "RunProblem",
    "Schedule",
    "SilencedRecipient",
    "Throttle",
    "User",
    "Verification",
    "WebSession",
]

# The module of each model, where it is not the model's name in small letters.
_MODULES = {
    "ApiToken": "account",
    "IdempotencyKey": "account",
    "RecoveryCode": "account",
    "Throttle": "account",
    "User": "account",
    "WebSession": "account",
    "AuditEntry": "audit",
    "BackupCopy": "backup",
    "DayFigures": "figures",
    "MonthFigures": "figures",
    "Hold": "backup",
    "Delivery": "notification",
    "DownloadLink": "download",
    "SilencedRecipient": "notification",
    "RestorePlan": "replacement",
    "RunLine": "run",
    "RunPhase": "run",
    "RunProblem": "run",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Base":
        for other in __all__:
            if other != name:
                __getattr__(other)
    module = import_module(f"{__name__}.{_MODULES.get(name, name.lower())}")
    model = globals()[name] = getattr(module, name)
    return model
