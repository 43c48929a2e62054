"""Signs bearer tokens as an authorization server would, and serves the key that they are checked with.

RS256 as RFC 7518 tells, with a key drawn for this run: no test may depend on a secret that stands in a file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time

from tests.faults.scripted import Scripted

AUDIENCE = "urn:baton:tests"
_SHA256 = bytes.fromhex(
    "3031300d060960864801650304020105000420"
)  # the DigestInfo before a hash (RFC 8017, 9.2)
_EXPONENT = 65537
_BITS = 2048


class TokenSigner(Scripted):
    """An issuer on loopback: ``with TokenSigner() as issuer: issuer.token("system/*.cruds")``."""

    def __init__(self) -> None:
        self._modulus, self._private = _drawn_key()
        keys = {"keys": [self._public()]}
        super().__init__(lambda asked: keys)

    @property
    def issuer(self) -> str:
        """What stands in the tokens as ``iss``."""
        return self.origin

    @property
    def switches(self) -> dict[str, str]:
        """What makes Helios ask for these tokens."""
        return {
            "HFS_AUTH_ENABLED": "true",
            "HFS_AUTH_JWKS_URL": f"{self.issuer}/jwks",
            "HFS_AUTH_ISSUER": self.issuer,
            "HFS_AUTH_AUDIENCE": AUDIENCE,
            "HFS_SMART_TOKEN_ENDPOINT": f"{self.issuer}/token",
        }

    def token(self, scope: str, *, lives_s: int = 3600, audience: str = AUDIENCE) -> str:
        """A token with these scopes; a negative life has ended."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": audience, "sub": "baton", "client_id": "baton", "scope": scope}
        times = {"iat": now - 60, "exp": now + lives_s, "jti": secrets.token_hex(8)}
        head = {"alg": "RS256", "typ": "JWT", "kid": "k"}
        said = f"{_text(json.dumps(head).encode())}.{_text(json.dumps({**claims, **times}).encode())}"
        return f"{said}.{_text(self._signature(said.encode()))}"

    def _signature(self, said: bytes) -> bytes:
        end = _SHA256 + hashlib.sha256(said).digest()
        padded = b"\x00\x01" + b"\xff" * (_BITS // 8 - len(end) - 3) + b"\x00" + end
        return pow(int.from_bytes(padded), self._private, self._modulus).to_bytes(_BITS // 8)

    def _public(self) -> dict[str, str]:
        modulus, exponent = self._modulus.to_bytes(_BITS // 8), _EXPONENT.to_bytes(3)
        return {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": "k",
            "n": _text(modulus),
            "e": _text(exponent),
        }


def _drawn_key() -> tuple[int, int]:
    """(modulus, private exponent)."""
    while True:
        one, other = _prime(), _prime()
        order = (one - 1) * (other - 1)
        if one != other and order % _EXPONENT:
            return one * other, pow(_EXPONENT, -1, order)


def _prime() -> int:
    half = _BITS // 2
    while True:
        drawn = (
            secrets.randbits(half) | (3 << (half - 2)) | 1
        )  # its two highest bits: the product has all its bits
        if all(drawn % small for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)) and _is_prime(drawn):
            return drawn


def _is_prime(number: int) -> bool:
    """Miller and Rabin's test, so often that a mistake is out of the question."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(24):
        met = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if met in (1, number - 1):
            continue
        for _ in range(twos - 1):
            met = met * met % number
            if met == number - 1:
                break
        else:
            return False
    return True


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
