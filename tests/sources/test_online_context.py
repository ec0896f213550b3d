"""Tickets, checksums and ciphers of CernVM Online: those of references/cernvm-online.md, and fresh ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.imds import KEY
from tests.servers.online import context_file, encrypt
from ucvm_agent.errors import SourceRefused
from ucvm_agent.sources.online_context import Ticket, decrypt, read_context

USER_DATA = b"[amiconfig]\nplugins=cernvm\n"

A_MD5 = (
    b"U2FsdGVkX1/w3mf7zOWNFQ57SgO4CY35jZffCCOwYF0hqsCRWVUFZq974BKO92HKgjIhBXQ5O8sVsGPXEwVQieP4oKTbhzSf0h8dIN2n8aZKSoVG"
    b"sR3rjtCWIOk="
)
A_SHA256 = (
    b"U2FsdGVkX1/ezCOjSbiI0hGMM48wWjZ3pZ6t435eYxOGf56YSG5YpP9Wi2mwPnm32hrY/LewpKUw6oSWCB+l4fwjLwm8yKHI3I0ngBR5XJRb267d"
    b"hDeBIgLCdpA="
)
B_MD5 = (
    b"U2FsdGVkX18BAgMEBQYHCFURONP+dKkiaR5yyHzfi/5Xmn71ivG++CJoFbYjaRs2hMhUbfE9JWWZ9R/SSQNmzdVSctmQl28VscWTTpBSB1HvwXWZ"
    b"xG2DwvGf+Qzo5xUmz4Pq0R1x2Hd8SFSHRO7alPf3DmL85eRSZ12y3OOAzFVmjOQ0J/IGet1M"
)
B_SHA256 = (
    b"U2FsdGVkX18REhMUFRYXGMukENNgtCgP1HIRcprK/0FnpdL2DhvZEqVrKvxCgkgTZdJ6moDyYj1h08g1GaC6NU533zsJVFB7aW81LuzPYHjdKOYG"
    b"3qwszyp/9gldjkP6symx1A9+TdacIff1l27rvds6p5A9pnzcSu8+OIRaLUnEQKIgHUfeyzME"
)
VECTORS = pytest.mark.parametrize("vector", [A_MD5, A_SHA256, B_MD5, B_SHA256], ids=["A", "A256", "B", "B256"])


@pytest.mark.parametrize(
    ("identity", "secret", "checksum"),
    [
        ("123457", "s3cret", "d2802c8d7af3cb27c403bae88339666f2c5d3a0a"),
        ("246810", "", "85568b20c3315286c4dfebb330b25146f92bed66"),
        ("5f2a9c3e-aa01-4c7b-9a55-0c1d2e3f4a5b", "higgs", "fadbd6f6a9518206744b6e7be4ac3cfa57cb2d4c"),
        ("942483", "higgs", "fadbd6f6a9518206744b6e7be4ac3cfa57cb2d4c"),
        ("100021", "x", "336c7e942954e8e8927ad32f8156354d6f9c8552"),
        ("7af3cafe", "", "af2941a60e26a34c22aac84a3165a175b835f1e3"),
        ("abcdefabcdefabcdefabcdefabcdefab", "open sesame", "bdde3b237d9ee52560c2822d1290fb979e455d6d"),
        ("ab1cdefabcdef7abcdefabcdefabcdef", "pässwörd", "1cb6cc8308696fbad45fbadbf7dcc218a1b15826"),
    ],
)
def test_checksums_of_the_reference(identity: str, secret: str, checksum: str) -> None:
    """Each row of section 2."""
    assert Ticket(identity.replace("-", "")).checksum(secret) == checksum


@pytest.mark.parametrize(
    ("typed", "text", "encrypted"),
    [
        ("123-457", "123457", True),
        (" 12 34 56 ", "123456", False),
        ("5F2A9C3E-aa01-4c7b-9a55-0c1d2e3f4a5b", "5f2a9c3eaa014c7b9a550c1d2e3f4a5b", None),
    ],
)
def test_tickets_as_people_type_them(typed: str, text: str, encrypted: bool | None) -> None:
    """Blanks and dashes do not count; the last digit of a PIN tells whether there is a secret."""
    ticket = Ticket.parse(typed)
    assert (ticket.text, ticket.is_encrypted) == (text, encrypted)
    assert text not in repr(ticket)


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "#1;reboot", "12345x", "٣٣٣٣٣٣", "5f2a9c3e"])
def test_what_is_no_ticket(typed: str) -> None:
    """Anything else is refused before it goes anywhere."""
    with pytest.raises(ValueError, match="PIN of 6 digits"):
        Ticket.parse(typed)


@VECTORS
def test_encrypted_contexts_of_the_reference(vector: bytes) -> None:
    """Both of OpenSSL's eras, with and without a line feed at the end."""
    assert read_context(decrypt(b"ENCRYPTED:" + vector, "higgs")).user_data == USER_DATA


@VECTORS
def test_a_wrong_secret_and_a_changed_bit_are_noticed(vector: bytes) -> None:
    """Though the cipher itself would not tell."""
    with pytest.raises(SourceRefused, match="wrong secret"):
        decrypt(b"ENCRYPTED:" + vector, "biggs")
    changed = vector[:60] + (b"A" if vector[60:61] != b"A" else b"B") + vector[61:]
    with pytest.raises(SourceRefused, match="wrong secret"):
        decrypt(b"ENCRYPTED:" + changed, "higgs")


@pytest.mark.parametrize("digest", ["md5", "sha256"])
@pytest.mark.parametrize("secret", ["higgs", "open sesame", "pässwörd", "a:b"])
def test_contexts_that_openssl_encrypts_today(digest: str, secret: str) -> None:
    """Fresh salts and other secrets."""
    assert decrypt(encrypt(context_file(USER_DATA), secret, digest), secret) == context_file(USER_DATA)


@pytest.mark.parametrize("body", [b"", b"!", b"U2FsdGVk", b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"U2FsdGVkX18="])
def test_damaged_encryption(body: bytes) -> None:
    """Neither base64, nor a salt, nor enough of them."""
    with pytest.raises(SourceRefused, match="damaged"):
        decrypt(b"ENCRYPTED:" + body, "higgs")


def test_a_context_file() -> None:
    """CR LF, comments and foreign lines do no harm; the last of two keys counts; quotes go from the name only."""
    text = context_file(b"no", name="Big \x1bName", root_key=KEY) + b"EC2_USER_DATA=eWVz\r\n# x\n junk=1\nCUSTOM=a=b"
    context = read_context(text)
    assert (context.user_data, context.name) == (b"yes", "Big Name")
    assert [key in KEY for key in context.root_keys] == [True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"VM_CONTEXT_NAME=x\n", "lacks EC2_USER_DATA"),
        (b"EC2_USER_DATA=a b=c!\n", "no base64"),
        (b"EC2_USER_DATA=\nROOT_PUBKEY=?\n", "ROOT_PUBKEY"),
        (b"".join(b"K%d=1\n" % number for number in range(1001)), "1000 keys"),
    ],
)
def test_context_files_that_are_refused(text: bytes, said: str) -> None:
    """Each with its reason."""
    with pytest.raises(SourceRefused, match=said):
        read_context(text)


@given(st.binary(max_size=300), st.text(max_size=10))
def test_no_bytes_break_the_decoder(data: bytes, secret: str) -> None:
    """Whatever comes, the only error is ours."""
    for read in (read_context, lambda text: decrypt(b"ENCRYPTED:" + text, secret)):
        try:
            read(data)
        except SourceRefused:
            continue
