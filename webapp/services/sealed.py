"""What rows keep sealed under the encryption key: credentials of destinations, secrets in configurations, second
factors, targets of restores. Sealed for the first time before there is any backup, it makes the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from webapp.installation import Installation
from webapp.models import Configuration, Destination
from webapp.services import keyrings, secrets
from webapp.services.keyrings import Tell
from webapp.services.repositories import silent, used_destinations


def seal(installation: Installation, values: Mapping[str, str], *, bound: str, tell: Tell = silent) -> bytes:
    """The values, sealed for one row (`bound`). Raises KeyMissing, SettingsInvalid, and WrongKey while a change of keys
    waits for the new key to be set."""
    settings = installation.settings
    is_new = not keyrings.local_slots(settings) and not used_destinations(installation)
    return secrets.seal(settings, values, bound=bound, may_generate=is_new, tell=tell)


def opened(installation: Installation, sealed: bytes | None, *, bound: str) -> dict[str, str]:
    """What was sealed; nothing for None. Raises KeyMissing, SettingsInvalid, WrongKey."""
    if sealed is None:
        return {}
    return secrets.unseal(installation.settings, sealed, bound=bound, tell=silent)


def of_configuration(config_id: str) -> str:
    """What the secrets of a configuration are bound to."""
    return f"configuration {config_id}"


def of_user(public_id: str) -> str:
    """What the second factor of a person is bound to."""
    return f"second factor {public_id}"


def of_plan(public_id: str) -> str:
    """What the target of a restore plan is bound to."""
    return f"restore plan {public_id}"


def reseal_all(installation: Installation, keys: Sequence[bytes]) -> None:
    """Everything that is sealed, sealed for these keys, in one transaction. What none of them opens, since its key is
    lost, stays as it is: who needs it is told then."""
    from webapp.models import RestorePlan, User  # mapped only where keys change: a start of the program is short

    with installation.database.transaction() as session:
        for place in session.scalars(select(Destination).where(Destination.sealed.is_not(None))):
            place.sealed = _again(place.sealed, keys, place.place)
        for configuration in session.scalars(select(Configuration).where(Configuration.sealed.is_not(None))):
            configuration.sealed = _again(configuration.sealed, keys, of_configuration(configuration.id))
        for user in session.scalars(select(User).where(User.totp_sealed.is_not(None))):
            user.totp_sealed = _again(user.totp_sealed, keys, of_user(user.public_id))
        for plan in session.scalars(select(RestorePlan).where(RestorePlan.sealed.is_not(None))):
            plan.sealed = _again(plan.sealed, keys, of_plan(plan.public_id))


def _again(sealed: bytes | None, keys: Sequence[bytes], bound: str) -> bytes | None:
    values = None if sealed is None else secrets.unseal_with(keys, sealed, bound=bound)
    return sealed if values is None else secrets.reseal(values, keys, bound=bound)
