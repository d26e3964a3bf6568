"""Rows only: columns, relations and read-only properties. What changes them is in webapp/services."""

from webapp.models.account import ApiToken, IdempotencyKey, RecoveryCode, Throttle, User, WebSession
from webapp.models.alarm import Alarm
from webapp.models.audit import AuditEntry
from webapp.models.backup import Backup, BackupCopy
from webapp.models.base import Base
from webapp.models.configuration import Configuration
from webapp.models.destination import Destination
from webapp.models.event import Event
from webapp.models.hold import Hold
from webapp.models.notification import Delivery, SilencedRecipient
from webapp.models.run import Run, RunLine, RunProblem
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
    "Delivery",
    "Destination",
    "Event",
    "Hold",
    "IdempotencyKey",
    "RecoveryCode",
    "Run",
    "RunLine",
    "RunProblem",
    "Schedule",
    "SilencedRecipient",
    "Throttle",
    "User",
    "Verification",
    "WebSession",
]
