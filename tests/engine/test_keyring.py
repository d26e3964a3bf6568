"""Slots open with their secret and with nothing else; damage and a wrong key are never confused."""

from __future__ import annotations

import base64
import json

import pytest

from engine import keyring as keys
from engine.errors import Corrupt, NotARepository, UnsupportedVersion, WrongKey

SECRET, OTHER = b"s" * 32, b"o" * 32


def test_a_slot_opens_with_its_secret() -> None:
    keyring = keys.Keyring.generate()
    name, data = keys.wrap(keyring, keys.SERVICE, SECRET)
    assert keys.unlock([keys.read_slot(name, data)], keys.SERVICE, SECRET) == keyring


def test_a_recovery_code_opens_its_slot_however_it_is_typed() -> None:
    keyring, code = keys.Keyring.generate(), keys.new_recovery_code()
    name, data = keys.wrap(keyring, keys.RECOVERY_CODE, keys.read_recovery_code(code))
    typed = f"  {code.lower().replace('-', ' ')} ".replace("o", "0").replace("i", "1").replace("b", "8")
    assert keys.unlock([keys.read_slot(name, data)], keys.RECOVERY_CODE, keys.read_recovery_code(typed)) == keyring


@pytest.mark.parametrize("place", range(0, 69, 3))
def test_a_mistyped_recovery_code_is_told(place: int) -> None:
    code = keys.new_recovery_code()
    letter = "A" if code[place] != "A" else "C"
    wrong = code[:place] + ("-" if code[place] == "-" else letter) + code[place + 1 :]
    if wrong == code:
        wrong = code[:-1]
    with pytest.raises(WrongKey):
        keys.read_recovery_code(wrong)


@pytest.mark.parametrize("text", ["", "ABC", "9" * 56, "A" * 56, "é" * 56])
def test_what_is_no_recovery_code_is_told(text: str) -> None:
    with pytest.raises(WrongKey):
        keys.read_recovery_code(text)


def test_another_secret_is_a_wrong_key() -> None:
    name, data = keys.wrap(keys.Keyring.generate(), keys.SERVICE, SECRET)
    with pytest.raises(WrongKey):
        keys.unlock([keys.read_slot(name, data)], keys.SERVICE, OTHER)


def test_every_flipped_bit_of_a_slot_is_damage_not_a_wrong_key() -> None:
    name, data = keys.wrap(keys.Keyring.generate(), keys.SERVICE, SECRET)
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(Corrupt):
            keys.read_slot(name, flipped)
    for length in range(0, len(data), 7):
        with pytest.raises(Corrupt):
            keys.read_slot(name, data[:length])


def test_a_slot_under_another_name_is_damage() -> None:
    _, data = keys.wrap(keys.Keyring.generate(), keys.SERVICE, SECRET)
    with pytest.raises(Corrupt, match="another name"):
        keys.read_slot("keys/" + "0" * 32, data)


def test_forged_parameters_do_not_open() -> None:
    """Whoever can recompute the checksum still cannot make the tag fit."""
    name, data = keys.wrap(keys.Keyring.generate(), keys.SERVICE, SECRET)
    document = json.loads(data)
    document.pop("checksum")
    sealed = bytearray(base64.b64decode(document["sealed"]))
    sealed[20] ^= 1
    forged = keys.with_checksum(document | {"sealed": base64.b64encode(sealed).decode()})
    with pytest.raises(WrongKey):
        keys.unlock([keys.read_slot(name, forged)], keys.SERVICE, SECRET)


def test_a_newer_format_is_refused_with_a_sentence() -> None:
    name, data = keys.wrap(keys.Keyring.generate(), keys.SERVICE, SECRET)
    document = json.loads(data)
    document.pop("checksum")
    with pytest.raises(UnsupportedVersion, match="Use a newer Holdfast"):
        keys.read_slot(name, keys.with_checksum(document | {"format": 2}))


def test_secrets_do_not_show() -> None:
    keyring = keys.Keyring.generate()
    for secret in (keyring.identity_key, keyring.chunker_key, *keyring.epochs.values()):
        assert repr(secret) not in repr(keyring)
        assert secret.hex() not in repr(keyring)


def test_golden_derived_keys() -> None:
    """Keys of the format, computed once: a change here makes every repository unreadable."""
    keyring = keys.Keyring(bytes(16), bytes(range(32)), bytes(range(32, 64)), {1: bytes(32)})
    assert keyring.data_key.hex() == "84cb81f9cfbbc56fd384ef2b96f681258145ecd84c18188134d117f27f17caeb"
    assert keyring.tree_key.hex() == "ad1a75982acd0034ab2b9ab52977ac94dc661f5b967996dcca6bc232e4a1ad78"
    assert keyring.chunker_seed == 6437035424138303663


def test_of_old_and_new_slots_the_newest_epoch_counts() -> None:
    old = keys.Keyring.generate()
    new = old.with_new_epoch()
    assert (old.epoch, len(new.epochs)) == (1, 2)
    assert new.epoch > 1
    assert new.epochs[1] == old.epochs[1]
    assert new.data_key == old.data_key
    slots = [keys.read_slot(*keys.wrap(each, keys.SERVICE, SECRET)) for each in (old, new)]
    for order in (slots, slots[::-1]):
        assert keys.unlock(order, keys.SERVICE, SECRET) == new
    stranger = keys.read_slot(
        *keys.wrap(keys.Keyring.generate().with_new_epoch().with_new_epoch(), keys.SERVICE, SECRET)
    )
    assert keys.unlock([*slots, stranger], keys.SERVICE, SECRET, vault=old.vault) == new
    with pytest.raises(NotARepository):
        keys.unlock([stranger], keys.SERVICE, SECRET, vault=old.vault)


def test_a_slot_with_strange_parameters_is_damage() -> None:
    name, data = keys.wrap(keys.Keyring.generate(), keys.SERVICE, SECRET)
    document = json.loads(data)
    document.pop("checksum")
    for parameters in ({}, {"salt": "xyz"}, {"salt": 1}, None):
        with pytest.raises(Corrupt):
            keys.read_slot(name, keys.with_checksum(document | {"parameters": parameters}))


def test_keys_that_were_changed_twice_at_once_are_joined() -> None:
    """Two homes that do not know of each other: each slot holds an epoch that the other lacks."""
    old = keys.Keyring.generate()
    one, two = old.with_new_epoch(), old.with_new_epoch()
    assert one.epoch != two.epoch
    slots = [keys.read_slot(*keys.wrap(each, keys.SERVICE, SECRET)) for each in (one, old, two)]
    joined = keys.unlock(slots, keys.SERVICE, SECRET)
    assert joined.epochs == one.epochs | two.epochs
    assert [slot.epochs for slot in slots] == [one.epochs.keys(), {1}, two.epochs.keys()]


def test_one_number_for_two_keys_is_refused() -> None:
    one, two = (
        keys.Keyring(bytes(16), bytes(32), bytes(32), {1: bytes(32), 7: secret * 32}) for secret in (b"a", b"b")
    )
    with pytest.raises(WrongKey, match="at the same time"):
        keys.unlock(
            [keys.read_slot(*keys.wrap(each, keys.SERVICE, SECRET)) for each in (one, two)], keys.SERVICE, SECRET
        )


def test_numbers_of_epochs_stay_within_32_bits() -> None:
    last = keys.Keyring(bytes(16), bytes(32), bytes(32), {1: bytes(32), (1 << 32) - 2: bytes(32)})
    assert last.with_new_epoch().epoch == (1 << 32) - 1
