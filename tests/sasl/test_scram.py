"""SASL SCRAM: the examples of RFC 5802 and RFC 7677, and scramp as the other side."""

from base64 import b64decode, b64encode

import pytest
import scramp
from hypothesis import given, settings
from hypothesis import strategies as st

from mailserver.auth.scram_keys import derive
from mailserver.credentials import ActingFor, Unproven, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Ask, Challenge, Done, SaslContext, VerifierOf
from mailserver.sasl.scram import ScramMechanism
from tests.sasl import clients

NONCE = b"3rfcNHYJY1ZVvWVs7j"
SHA1 = ScramMechanism(b"SCRAM-SHA-1", "sha1")
SHA256 = ScramMechanism(b"SCRAM-SHA-256", "sha256")
SHA1_PLUS = ScramMechanism(b"SCRAM-SHA-1", "sha1", plus=True)
SHA256_PLUS = ScramMechanism(b"SCRAM-SHA-256", "sha256", plus=True)
PLAIN = SaslContext(b"h", tls=False, nonce=NONCE)
BOUND = SaslContext(
    b"h",
    tls=True,
    nonce=NONCE,
    bindings={b"tls-exporter": b"E" * 32, b"tls-server-end-point": b"P" * 32},
    offered=frozenset({b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS"}),
)
FAMILY = [(SHA1, PLAIN), (SHA256, PLAIN), (SHA1_PLUS, BOUND), (SHA256_PLUS, BOUND)]
family = pytest.mark.parametrize(
    ("mechanism", "context"), FAMILY, ids=lambda value: getattr(value, "name", b"").decode()
)


def keys(mechanism, password=b"pencil", iterations=4096):
    return derive(password, b64decode(b"QSXCR+Q6sek8bf92"), iterations, mechanism.digest)


def run(mechanism, context, client, known):
    """The last step, after the client has had its say; the requests to the oracle."""
    exchange = mechanism.begin(context)
    assert exchange.step(None) == Challenge(b"")
    asked = []
    response = next(client)
    while True:
        step = exchange.step(response)
        while isinstance(step, Ask):
            asked.append(step.request)
            step = exchange.answer(known)
        if isinstance(step, Done):
            return step.credentials, asked
        try:
            response = client.send(step.data)
        except StopIteration:
            response = b""


def bound_client(mechanism, name=b"user", password=b"pencil", binding=b"tls-exporter", **options):
    header = b"p=" + binding + b",,"
    return clients.scram(
        mechanism.digest, name, password, **{"header": header, "binding": BOUND.bindings[binding], **options}
    )


def client_for(mechanism, name=b"user", password=b"pencil"):
    if mechanism.plus:
        return bound_client(mechanism, name, password)
    return clients.scram(mechanism.digest, name, password)


VECTORS = [
    (
        SHA1,
        NONCE,
        b"QSXCR+Q6sek8bf92",
        [
            (
                b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            ),
            (
                b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
        ],
    ),
    (
        SHA256,
        b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"W22ZaJ0SNY7soEsUEjb6gQ==",
        [
            (
                b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            ),
            (
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ],
    ),
]


@pytest.mark.parametrize(("mechanism", "nonce", "salt", "talk"), VECTORS, ids=["RFC 5802", "RFC 7677"])
def test_the_examples_of_the_rfcs(mechanism, nonce, salt, talk):
    exchange = mechanism.begin(SaslContext(b"h", tls=False, nonce=nonce))
    step = exchange.step(talk[0][0])
    assert step == Ask(VerifierOf(b"user", mechanism.name))
    assert exchange.answer(derive(b"pencil", b64decode(salt), 4096, mechanism.digest)) == Challenge(talk[0][1])
    assert exchange.step(talk[1][0]) == Challenge(talk[1][1])
    assert exchange.step(b"") == Done(VerifiedIdentity(b"user"))


@family
def test_the_right_password_is_proof(mechanism, context):
    credentials, asked = run(mechanism, context, client_for(mechanism), keys(mechanism))
    assert credentials == VerifiedIdentity(b"user")
    assert asked == [VerifierOf(b"user", mechanism.asks)]


@family
def test_a_wrong_password_is_none_after_the_same_steps(mechanism, context):
    credentials, asked = run(mechanism, context, client_for(mechanism, password=b"pen"), keys(mechanism))
    assert credentials == Unproven(b"user")
    assert len(asked) == 1


@family
def test_a_server_without_the_keys_cannot_deceive_a_client(mechanism, context):
    right = keys(mechanism)
    stolen = type(right)(right.salt, right.iterations, right.stored_key, b"x" * len(right.server_key))
    with pytest.raises(clients.ServerLies):
        run(mechanism, context, client_for(mechanism), stolen)


@pytest.mark.parametrize("binding", BOUND.bindings)
def test_each_binding_of_the_connection_can_be_used(binding):
    client = bound_client(SHA256_PLUS, binding=binding)
    assert run(SHA256_PLUS, BOUND, client, keys(SHA256_PLUS))[0] == VerifiedIdentity(b"user")


def test_another_connection_s_binding_is_no_proof():
    client = bound_client(SHA256_PLUS, binding=b"tls-exporter")
    elsewhere = SaslContext(b"h", tls=True, nonce=NONCE, bindings={b"tls-exporter": b"e" * 32})
    assert run(SHA256_PLUS, elsewhere, client, keys(SHA256_PLUS))[0] == Unproven(b"user")


def test_a_binding_that_the_connection_lacks_is_refused():
    with pytest.raises(BadCommand):
        SHA256_PLUS.begin(BOUND).step(b"p=tls-unique,,n=user,r=abc")


def test_plus_needs_a_binding_and_without_plus_there_is_none():
    for mechanism, message in (
        (SHA256_PLUS, b"n,,n=user,r=abc"),
        (SHA256_PLUS, b"y,,n=user,r=abc"),
        (SHA256, b"p=tls-exporter,,n=user,r=abc"),
    ):
        with pytest.raises(BadCommand):
            mechanism.begin(BOUND).step(message)


def test_a_client_that_did_not_see_plus_though_it_was_offered_was_deceived():
    client = clients.scram("sha256", b"user", b"pencil", header=b"y,,")
    assert run(SHA256, BOUND, client, keys(SHA256)) == (Unproven(b"user"), [])


def test_a_client_that_could_bind_may_go_on_where_plus_is_not_offered():
    client = clients.scram("sha256", b"user", b"pencil", header=b"y,,")
    assert run(SHA256, PLAIN, client, keys(SHA256))[0] == VerifiedIdentity(b"user")


def test_a_client_whose_header_was_changed_on_the_way_is_refused():
    client = clients.scram("sha256", b"user", b"pencil", header=b"y,,")
    first = next(client)
    exchange = SHA256.begin(PLAIN)
    exchange.step(first.replace(b"y,,", b"n,,"))
    step = exchange.answer(keys(SHA256))
    assert exchange.step(client.send(step.data)) == Done(Unproven(b"user"))


def test_a_nonce_that_is_not_the_server_s_is_no_proof():
    client = clients.scram("sha256", b"user", b"pencil")
    exchange = SHA256.begin(PLAIN)
    exchange.step(next(client))
    step = exchange.answer(keys(SHA256))
    final = client.send(step.data.replace(NONCE, b"another"))
    assert exchange.step(final) == Done(Unproven(b"user"))


def test_it_needs_a_nonce_and_plus_a_binding():
    assert SHA256.fits(PLAIN)
    assert not SHA256.fits(SaslContext(b"h", tls=True))
    assert SHA256_PLUS.fits(BOUND)
    assert not SHA256_PLUS.fits(PLAIN)


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        (b"n,a=user,", VerifiedIdentity(b"user")),
        (b"n,a=other,", ActingFor(VerifiedIdentity(b"user"), b"other")),
        (b"n,a=o=2Cth=3Der,", ActingFor(VerifiedIdentity(b"user"), b"o,th=er")),
    ],
)
def test_an_authorization_identity_is_for_whom_he_acts(header, credentials):
    client = clients.scram("sha1", b"user", b"pencil", header=header)
    assert run(SHA1, PLAIN, client, keys(SHA1))[0] == credentials


def test_commas_and_equals_signs_in_names_are_escaped_and_names_are_prepared():
    client = clients.scram("sha1", "a,b=c o\u0308".encode(), b"pencil")
    credentials, asked = run(SHA1, PLAIN, client, keys(SHA1))
    assert credentials == VerifiedIdentity("a,b=c ö".encode())
    assert asked[0].username == credentials.username


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"n=user,r=abc",
        b"x,,n=user,r=abc",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user",
        b"n,,m=ext,n=user,r=abc",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2cer,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,a===2C,n=user,r=abc",
        b"n,,n=user,r=a\x01c",
        b"p=,,n=user,r=abc",
        b"n,,n=us\0er,r=abc",
        b"n,,n=user,r=abc,broken",
    ],
)
def test_a_malformed_first_message_is_refused(message):
    with pytest.raises(BadCommand):
        SHA1.begin(PLAIN).step(message)


def halfway():
    exchange = SHA1.begin(PLAIN)
    exchange.step(b"n,,n=user,r=abc,x=ignored")
    exchange.answer(keys(SHA1))
    return exchange


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,r=abc",
        b"c=b,r=abc,p=QQ==",
        b"c=biws,r=abc,p=Q",
        b"c=biws,r=abc,p=QQ==\n",
        b"r=abc,c=biws,p=QQ==",
    ],
)
def test_a_malformed_final_message_is_refused(message):
    with pytest.raises(BadCommand):
        halfway().step(message)


@pytest.mark.parametrize("proof", [b"QQ==", b64encode(b"x" * 19), b64encode(b"x" * 21), b64encode(b"x" * 20)])
def test_a_proof_of_any_length_is_only_wrong(proof):
    assert halfway().step(b"c=biws,r=abc" + NONCE + b",p=" + proof) == Done(Unproven(b"user"))


def test_the_server_s_proof_is_answered_with_nothing():
    client = clients.scram("sha1", b"user", b"pencil")
    exchange = SHA1.begin(PLAIN)
    exchange.step(next(client))
    exchange.step(client.send(exchange.answer(keys(SHA1)).data))
    with pytest.raises(BadCommand):
        exchange.step(b"?")


def test_an_answer_of_another_kind_is_a_fault():
    exchange = SHA1.begin(PLAIN)
    exchange.step(b"n,,n=user,r=abc")
    with pytest.raises(TypeError):
        exchange.answer(b"pencil")


@given(st.lists(st.binary() | st.from_regex(rb"[ny],,n=[a-z]+,r=[!-+]+(,p=[A-Z]+)?", fullmatch=True), max_size=4))
def test_any_messages_are_taken_or_refused(messages):
    exchange = SHA256.begin(PLAIN)
    for message in messages:
        try:
            step = exchange.step(message)
        except BadCommand:
            return
        if isinstance(step, Ask):
            step = exchange.answer(keys(SHA256, iterations=1))
        if isinstance(step, Done):
            assert isinstance(step.credentials, Unproven)
            return
        assert b"pencil" not in step.data


# scramp

TEXT = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
ORACLES = st.sampled_from([SHA1, SHA256, SHA1_PLUS, SHA256_PLUS])
END_POINT = ("tls-server-end-point", BOUND.bindings[b"tls-server-end-point"])


def binding_of(mechanism):
    return END_POINT if mechanism.plus else None


@settings(deadline=None, max_examples=20)
@given(ORACLES, TEXT, TEXT, st.booleans())
def test_scramp_s_client_and_our_server_agree(mechanism, name, password, right):
    client = scramp.ScramClient([mechanism.name.decode()], name, password, channel_binding=binding_of(mechanism))
    exchange = mechanism.begin(BOUND if mechanism.plus else PLAIN)
    step = exchange.step(client.get_client_first().encode())
    assert step == Ask(VerifierOf(name.encode(), mechanism.asks))
    known = keys(mechanism, password.encode() if right else password.encode() + b"!")
    client.set_server_first(exchange.answer(known).data.decode())
    step = exchange.step(client.get_client_final().encode())
    if right:
        client.set_server_final(step.data.decode())
        step = exchange.step(b"")
    assert step == Done((VerifiedIdentity if right else Unproven)(name.encode()))


@settings(deadline=None, max_examples=20)
@given(ORACLES, TEXT, TEXT)
def test_scramp_s_server_takes_the_client_that_tests_ours(mechanism, name, password):
    theirs = scramp.ScramMechanism(mechanism.name.decode())
    info = theirs.make_auth_info(password, iteration_count=4096)
    server = theirs.make_server(lambda _: info, channel_binding=binding_of(mechanism))
    options = {"header": b"p=tls-server-end-point,,", "binding": END_POINT[1]} if mechanism.plus else {}
    client = clients.scram(mechanism.digest, name.encode(), password.encode(), **options)
    server.set_client_first(next(client).decode())
    server.set_client_final(client.send(server.get_server_first().encode()).decode())
    with pytest.raises(StopIteration):
        client.send(server.get_server_final().encode())
