"""Rows only: columns, relations and read-only properties. What changes them is in webapp/services."""

from webapp.models.alarm import Alarm
from webapp.models.backup import Backup, BackupCopy
from webapp.models.base import Base
from webapp.models.configuration import Configuration
from webapp.models.destination import Destination
from webapp.models.hold import Hold
from webapp.models.run import Run, RunProblem
from webapp.models.verification import Verification

__all__ = [
    "Alarm",
    "Backup",
    "BackupCopy",
    "Base",
    "Configuration",
    "Destination",
    "Hold",
    "Run",
    "RunProblem",
    "Verification",
]
