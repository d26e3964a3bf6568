"""What a `doctor` says of the trash, of marks and sessions that nobody ended, and of cleanups that do not happen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import func, select

from engine.repository import mark
from engine.repository.repository import Repository
from engine.repository.session import running
from webapp.installation import Installation
from webapp.models import Configuration, Destination, Run
from webapp.models.run import SUCCEEDED, WARNING
from webapp.services import trash
from webapp.services.cleanup import TRASH_DELAY, pruning_rules
from webapp.services.restore_points import Series
from webapp.services.runs import CLEANUP

# A cleanup once a week is enough; what waits for twice that long is forgotten.
PATIENCE = timedelta(days=14)
_RUN_IT = "`backup-cli cleanup`; a timer or cron job once a day does it for you."


def stale(installation: Installation, destination: Destination, repository: Repository) -> Iterator[tuple[str, str]]:
    """What lies at a destination for longer than it should: sentences with what to do. Raises StorageError, Corrupt."""
    now = installation.clock()
    oldest = next(iter(trash.here(installation, destination)), None)
    if oldest is not None and oldest.trashed_at is not None and oldest.trashed_at + TRASH_DELAY + PATIENCE < now:
        yield f"Restore points lie in its trash since {_day(oldest.trashed_at)}.", _RUN_IT
    packs = repository.list_packs().keys()
    marked = [each.started_at for each in mark.read_all(repository) if each.packs & packs]
    if marked and min(marked) + PATIENCE < now:
        yield f"Space was marked to be freed there on {_day(min(marked))}, and is not yet.", _RUN_IT
    expiry = pruning_rules(installation).session_expiry
    silent = [at for at in running(repository).values() if at + expiry < now]
    if silent:
        count = "A backup was" if len(silent) == 1 else f"{len(silent)} backups were"
        yield f"{count} killed there on {_day(min(silent))} or later.", "The next cleanup puts that in order."


def neglected(installation: Installation, configuration: Configuration, series: Series) -> Iterator[tuple[str, str]]:
    """A sentence and what to do when a configuration has a retention, but no cleanup applies it."""
    if configuration.document.get("retention") is None or series.oldest_at is None:
        return
    last = _last_cleanup(installation, configuration)
    if max(last or series.oldest_at, series.oldest_at) + PATIENCE < installation.clock():
        when = "never been applied" if last is None else f"not been applied since {_day(last)}"
        yield f"Its retention has {when}.", _RUN_IT


def _last_cleanup(installation: Installation, configuration: Configuration) -> datetime | None:
    query = select(func.max(Run.finished_at)).where(
        Run.kind == CLEANUP,
        Run.state.in_((SUCCEEDED, WARNING)),
        Run.config_id.is_(None) | (Run.config_id == configuration.id),
    )
    with installation.database.reading() as session:
        return session.scalar(query)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
