"""Tokens, good and bad, as an issuer or a forger would write them."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://project.supabase.co/auth/v1"
SECRET = "a secret of the project, thirty-two bytes or more"
ADA = UUID("00000000-0000-4000-8000-000000000ada")


def claims(**changes: Any) -> dict[str, Any]:
    """What Supabase Auth says of Ada; ``None`` leaves a claim out."""
    usual = {
        "iss": ISSUER,
        "sub": str(ADA),
        "aud": "authenticated",
        "role": "authenticated",
        "exp": int(time.time()) + 3600,
        "email": "ada@example.com",
        "app_metadata": {"provider": "email"},
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def by_secret(secret: str = SECRET, **changes: Any) -> str:
    """A token signed with HS256."""
    return jwt.encode(claims(**changes), secret, algorithm="HS256")


@dataclass
class Signer:
    """A key pair, as an Auth server holds it."""

    key_id: str
    algorithm: str = "ES256"
    key: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.key = (
            ec.generate_private_key(ec.SECP256R1())
            if self.algorithm == "ES256"
            else rsa.generate_private_key(65537, 2048)
        )

    def sign(self, **changes: Any) -> str:
        """A token of this key."""
        return jwt.encode(
            claims(**changes), self.key, algorithm=self.algorithm, headers={"kid": self.key_id}
        )

    @property
    def public(self) -> dict[str, Any]:
        """The public half, as a key set holds it."""
        writer = ECAlgorithm if self.algorithm == "ES256" else RSAAlgorithm
        described = json.loads(writer.to_jwk(self.key.public_key()))
        return {**described, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    @property
    def public_pem(self) -> bytes:
        """The public half as text, which a forger may take for a secret."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def key_set(*signers: Signer) -> str:
    """Their public keys."""
    return json.dumps({"keys": [signer.public for signer in signers]})


def written_by_hand(header: dict[str, Any], body: dict[str, Any], key: bytes | None = None) -> str:
    """A token that no careful library would write: unsigned, or signed (HS256) with *key*."""
    import hashlib
    import hmac

    signed = ".".join(_part(json.dumps(each).encode()) for each in (header, body))
    signature = b"" if key is None else hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_part(signature)}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
