"""What a cleanup would do, point by point with reasons and bytes. Writes nothing at any destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from engine.errors import Cancelled, Corrupt, EngineError, RetentionRefused
from engine.keyring import Keyring
from engine.model.retention import require_moderation
from engine.progress import Progress
from engine.repository.forget import given_up
from engine.repository.repository import Repository
from engine.repository.usage import Estimate, estimate
from webapp.errors import ServiceError
from webapp.installation import Installation
from webapp.models import BackupCopy, Configuration, Destination
from webapp.services import pins, records, repositories, restore_points, retention, trash
from webapp.services.keyrings import Tell
from webapp.services.retention import Rules, Verdict


@dataclass(frozen=True)
class Order:
    """Who wants what to be cleaned up: one configuration, or all. With `at_once` neither trash nor grace is waited for,
    which needs that no writer is at work. `tried` are other numbers than those of the configuration, as in a document:
    such a plan is only looked at."""

    identity: str
    config_id: str | None = None
    at_once: bool = False
    run_id: int | None = None
    tried: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Part:
    """One configuration at one destination: what becomes of its restore points, and those that lie in the trash.

    With `questions` nothing of it is removed before somebody confirmed."""

    configuration: Configuration
    rules: Rules
    verdicts: tuple[Verdict, ...]
    trash: tuple[BackupCopy, ...]
    questions: tuple[str, ...] = ()

    @property
    def going(self) -> list[Verdict]:
        """Those that nothing keeps."""
        return [verdict for verdict in self.verdicts if not verdict.decision.keep]


@dataclass(frozen=True)
class Place:
    """One destination. `estimate` tells the bytes that are freed when all that goes, and the trash, is gone; with
    `error` it could not be looked at."""

    destination: Destination
    parts: tuple[Part, ...] = ()
    estimate: Estimate | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Plan:
    """What a cleanup would do everywhere."""

    order: Order
    places: tuple[Place, ...] = ()
    questions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What has to be confirmed, by configuration."""

    def leaving(self, config_id: str) -> list[str]:
        """Which copies of this configuration go: the row of the destination and the id of the restore point, as
        `3 bk_…`. With `at_once` also what lies in the trash, as that goes for good."""
        parts = [(place.destination.id, part) for place in self.places for part in place.parts]
        mine = [(number, part) for number, part in parts if part.configuration.id == config_id]
        going = {f"{number} {each.backup.public_id}" for number, part in mine for each in part.going}
        if self.order.at_once:
            going |= {f"{number} {copy.backup.public_id}" for number, part in mine for copy in part.trash}
        return sorted(going)

    @property
    def failures(self) -> list[Exception]:
        """Why destinations could not be looked at."""
        return [place.error for place in self.places if place.error is not None]


def plan(installation: Installation, order: Order, *, progress: Progress, tell: Tell) -> Plan:
    """Looks at every destination; one that cannot be read has its error in the answer.

    Raises NotFound for a configuration that never was, WrongKey and KeyMissing."""
    if order.config_id is not None:
        restore_points.require_series(installation, order.config_id)
    records.note_dead_runs(installation)
    chosen = [each for each in repositories.used_destinations(installation) if each.deleted_at is None]
    if not chosen:
        return Plan(order)
    keyring = repositories.open_keyring(installation, may_create=False, tell=tell)
    places = [_place(installation, order, destination, keyring, progress) for destination in chosen]
    questions: dict[str, tuple[str, ...]] = {}
    for place in places:
        for part in place.parts:
            if part.questions:
                name = part.configuration.id
                asked = tuple(f"At {place.destination.name}: {question}" for question in part.questions)
                questions[name] = (*questions.get(name, ()), *asked)
    return Plan(order, tuple(places), questions)


def points_that_count(repository: Repository) -> set[bytes]:
    """The restore points that are there and not in the trash."""
    return set(repository.manifest_ids()) - repository.removed_ids()


def _place(
    installation: Installation, order: Order, destination: Destination, keyring: Keyring, progress: Progress
) -> Place:
    progress.checkpoint()
    try:
        repository = repositories.open_repository(installation, destination, keyring)
        with closing(repository.storage):
            unreadable = set(repositories.adopt(installation, destination, repository).unreadable)
            unreadable -= given_up(repository, unreadable)
            if unreadable:
                raise Corrupt(
                    f"{len(unreadable)} restore points at {destination.name} cannot be read, so nothing is removed.",
                    hint="`backup-cli verify --all` says why.",
                )
            parts = _parts(installation, order, destination, points_that_count(repository))
            return _weighed(destination, repository, parts, order, progress)
    except Cancelled:
        raise
    except (EngineError, ServiceError) as error:
        return Place(destination, error=error)


def _parts(installation: Installation, order: Order, destination: Destination, there: set[bytes]) -> list[Part]:
    held = pins.held(installation)
    parts = []
    for configuration in retention.series_at(installation, destination):
        is_asked_for = configuration.id == order.config_id
        if order.config_id is not None and not is_asked_for:
            continue
        rules = retention.rules(installation, configuration, destination, is_asked_for=is_asked_for)
        if order.tried is not None:
            rules = Rules(retention.policy(order.tried), rules.zone)
        verdicts = retention.verdicts(installation, configuration, destination, rules, there=there)
        waiting = trash.here(installation, destination, config_id=configuration.id)
        unheld = [copy for copy in waiting if records.identity(copy.backup) not in held]
        parts.append(Part(configuration, rules, tuple(verdicts), tuple(unheld)))
    return parts


def _weighed(
    destination: Destination, repository: Repository, parts: Sequence[Part], order: Order, progress: Progress
) -> Place:
    """With the bytes, and with what they make questionable."""
    going = [verdict.decision.point.id for part in parts for verdict in part.going]
    waiting = [records.identity(copy.backup) for part in parts for copy in part.trash]
    whole = estimate(repository, going, leaving=waiting, progress=progress)
    # What went into the trash before was agreed to then: only what goes now is held against the brake.
    freed = max(0, whole.freed_without_trash - whole.garbage_bytes)
    asked = [
        Part(part.configuration, part.rules, part.verdicts, part.trash, _questions(part, order, freed, whole))
        for part in parts
    ]
    return Place(destination, tuple(asked), whole)


def _questions(part: Part, order: Order, freed_bytes: int, whole: Estimate) -> tuple[str, ...]:
    found = []
    if part.going:
        decisions = [verdict.decision for verdict in part.verdicts]
        try:
            require_moderation(decisions, freed_bytes=freed_bytes, total_bytes=whole.stored_bytes)
        except RetentionRefused as error:
            found.append(error.message)
    count = len(part.going) + len(part.trash)
    if order.at_once and count:
        what = "1 restore point goes" if count == 1 else f"{count} restore points go"
        found.append(f"{what} at once and for good.")
    return tuple(found)
