"""The state of the service as numbers, in the text format of Prometheus: for those who watch many services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from webapp.installation import Installation
from webapp.models import Pulse, Run
from webapp.models.run import ACTIVE, QUEUED
from webapp.services import protection
from webapp.services.protection import STATUSES, Protection
from webapp.version import VERSION

__all__ = ["CONTENT_TYPE", "text"]


def text(installation: Installation) -> bytes:
    """Everything as of now; times are seconds since 1970. What never was has no sample. Raises Unavailable when the
    database cannot be used."""
    registry = CollectorRegistry()
    registry.register(_Service(installation))
    return generate_latest(registry)


class _Service(Collector):
    """Asks when it is collected, so nothing is ever older than the answer."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def describe(self) -> list[Metric]:
        """Nothing is asked in order to register."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield _gauge("info", "The version that runs", ["version"], [((VERSION,), 1)])
        yield from _configurations(protection.of_all(self._installation), protection.points(self._installation))
        yield from _runs(self._installation)


def _configurations(found: list[Protection], usable: Mapping[str, int]) -> Iterator[Metric]:
    names = [each.configuration.id for each in found]
    states = [((each.configuration.id, status), int(each.status == status)) for each in found for status in STATUSES]
    yield _gauge("configuration_status", "1 for the status that a configuration has", ["config", "status"], states)
    points = [((name,), usable.get(name, 0)) for name in names]
    yield _gauge("restore_points", "Restore points that can be restored", ["config"], points)
    newest = [((each.configuration.id,), each.newest.finished_at.timestamp()) for each in found if each.newest]
    yield _gauge("newest_restore_point_timestamp_seconds", "When the newest one was finished", ["config"], newest)
    checked = [((each.configuration.id,), each.checked_at.timestamp()) for each in found if each.checked_at]
    yield _gauge("checked_timestamp_seconds", "When one of them was last read back in full", ["config"], checked)
    limits = [((each.configuration.id,), each.limit.timestamp()) for each in found if each.limit]
    yield _gauge("restore_point_due_timestamp_seconds", "When the next one has to be there", ["config"], limits)


def _runs(installation: Installation) -> Iterator[Metric]:
    counted = select(Run.kind, Run.state, func.count(Run.id)).where(Run.state.in_(ACTIVE)).group_by(Run.kind, Run.state)
    oldest = select(func.min(Run.created_at)).where(Run.state == QUEUED)
    with installation.database.reading() as session:
        active = [((kind, state), number) for kind, state, number in session.execute(counted).all()]
        waiting = session.scalar(oldest)
        seen = [((each.part,), each.at.timestamp()) for each in session.scalars(select(Pulse).order_by(Pulse.part))]
    yield _gauge("active_runs", "Runs that wait or are at work", ["kind", "state"], active)
    age = 0.0 if waiting is None else max(0.0, (installation.clock() - waiting).total_seconds())
    yield _gauge("queue_oldest_seconds", "How long the run that waits longest has waited", [], [((), age)])
    yield _gauge("seen_timestamp_seconds", "When scheduler (tick) and workers last reported", ["part"], seen)


def _gauge(name: str, said: str, labels: list[str], samples: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"holdfast_{name}", said, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
