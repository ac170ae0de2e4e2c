from __future__ import annotations

from mailserver.auth.decoys import COSTS, ENOUGH, Decoys
from mailserver.auth.schemes import read_secret

BCRYPT = read_secret(b"$2b$04$X0pWikb8bIyi4dpslEfpbemVHgZ31n9QCZLBHKF0kO2lP76agLs.C")
SHA512 = read_secret(
    b"$6$rounds=1000$ab$PjG1Vkf5LHNL84dByLtuSYjVz6Hy575FC7tz8wX4DtJ2WMsZQu0/miZCNEiAa8uwa8QG5xPQJgcyUioQ0Ac/G/"
)
CLEAR = read_secret(b"{PLAIN}x")


def test_before_the_first_user_the_decoy_is_slow_and_nobody_s() -> None:
    decoy = Decoys().commonest
    assert decoy.slow
    assert not decoy.verify(b"x")


def test_the_commonest_slow_secret_is_the_decoy() -> None:
    decoys = Decoys()
    decoys.note(CLEAR)
    assert decoys.commonest is CLEAR
    for secret in (SHA512, CLEAR, CLEAR, BCRYPT, BCRYPT):
        decoys.note(secret)
    assert decoys.commonest is BCRYPT


def test_a_site_that_changes_its_scheme_is_followed() -> None:
    decoys = Decoys()
    for _ in range(100 * ENOUGH):
        decoys.note(SHA512)
    for _ in range(2 * ENOUGH):
        decoys.note(BCRYPT)
    assert decoys.commonest is BCRYPT


def test_kinds_of_secrets_are_bounded() -> None:
    decoys = Decoys()
    for rounds in range(2 * COSTS):
        decoys.note(read_secret(b"{PBKDF2}$1$salt$%d$0a3e3e6ac51adce4a4ad8bf2c47b6e4e9b4f9d9c" % (rounds + 1)))
    assert decoys.commonest.cost == ("PBKDF2", COSTS + 1)
