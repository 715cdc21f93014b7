"""JSON Web Tokens: made by the service, verified by PyJWT with the keys of `/.well-known/jwks.json`."""

import json
import urllib.parse

import jwt
import pytest
from chancery.v1 import signing_service_pb2, signing_service_pb2_grpc

from chancery_testkit import Chancery

ISSUER, AUDIENCE = "https://billing.example", "https://ledger.example"

ALGORITHMS = {
    "RSA_PKCS1_2048_SHA256": "RS256",
    "RSA_PSS_2048_SHA256": "PS256",
    "ECDSA_P256_SHA256": "ES256",
    "ECDSA_P384_SHA384": "ES384",
    "ECDSA_P521_SHA512": "ES512",
    "ECDSA_SECP256K1_SHA256": "ES256K",
    "ED25519": "EdDSA",
}


def keys_of(chancery: Chancery, name: str) -> jwt.PyJWKClient:
    address = f"{chancery.endpoint}/.well-known/jwks.json?{urllib.parse.urlencode({'name': name})}"
    return jwt.PyJWKClient(address, ssl_context=chancery.ssl_context())


def verify(token: str, keys: jwt.PyJWKClient, algorithm: str) -> dict:
    key = keys.get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=[algorithm], issuer=ISSUER, audience=AUDIENCE)


@pytest.mark.parametrize(("algorithm", "jose"), ALGORITHMS.items())
def test_tokens_are_verified_through_the_key_set(chancery: Chancery, algorithm: str, jose: str) -> None:
    name = chancery.create_key(algorithm=algorithm)
    with chancery.channel() as channel:
        signing = signing_service_pb2_grpc.SigningServiceStub(channel)
        claims = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": "Adélie 🐧"})
        token = signing.SignJwt(signing_service_pb2.SignJwtRequest(name=name, claims=claims)).token
    assert jwt.get_unverified_header(token)["alg"] == jose
    # By the key's own set, and by its ring's.
    for resource in (name, chancery.key_ring):
        verified = verify(token, keys_of(chancery, resource), jose)
        assert verified["sub"] == "Adélie 🐧"
        assert verified["exp"] - verified["iat"] == 3600

    header, payload, signature = token.split(".")
    other = jwt.utils.base64url_encode(json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": "Eve"}).encode()).decode()
    with pytest.raises(jwt.InvalidSignatureError):
        verify(f"{header}.{other}.{signature}", keys_of(chancery, name), jose)
