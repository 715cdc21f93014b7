"""A verifier in another language: fetches key sets over mutual TLS and verifies tokens with PyJWT, which knows nothing of
Chancery. Exits with 1 at the first surprise.

Usage: verify_jwt.py DEV_JSON TOKENS

TOKENS has a line for each token: JOSE algorithm, key, token.
"""

import json
import pathlib
import ssl
import sys
import urllib.parse

import jwt

EXPECTED = {"issuer": "https://issuer.example", "audience": "https://api.example"}


def forged(token):
    """Another payload under the same signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(jwt.utils.base64url_decode(payload))
    claims["sub"] = "eve"
    payload = jwt.utils.base64url_encode(json.dumps(claims).encode()).decode()
    return f"{header}.{payload}.{signature}"


def refused(why, token, key, **options):
    try:
        jwt.decode(token, key, **options)
    except why:
        return
    raise SystemExit(f"{why.__name__} was expected of {options}")


def main(dev_json, tokens):
    dev = json.loads(pathlib.Path(dev_json).read_text())
    tls = ssl.create_default_context(cafile=dev["ca"])
    tls.load_cert_chain(dev["caller"]["cert"], dev["caller"]["key"])

    def key_set(name):
        url = f"{dev['endpoint']}/.well-known/jwks.json?{urllib.parse.urlencode({'name': name})}"
        return jwt.PyJWKClient(url, ssl_context=tls)

    of_ring = key_set(dev["key_ring"])
    algorithms = set()
    lines = pathlib.Path(tokens).read_text().splitlines()
    for alg, key, token in (line.split(" ") for line in lines):
        for keys in (key_set(key), of_ring):
            verifying = keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, verifying, algorithms=[alg], **EXPECTED)
            assert claims["sub"] == "ada" and claims["exp"] - claims["iat"] == 3600, claims
            header = jwt.get_unverified_header(token)
            assert header == {"alg": alg, "kid": verifying.key_id, "typ": "at+jwt"}, header
            other = {**EXPECTED, "audience": "https://other.example"}
            refused(jwt.InvalidAudienceError, token, verifying, algorithms=[alg], **other)
            refused(jwt.InvalidSignatureError, forged(token), verifying, algorithms=[alg], **EXPECTED)
        algorithms.add(alg)
    print(f"PyJWT {jwt.__version__}: {len(lines)} tokens verified, {', '.join(sorted(algorithms))}")


main(*sys.argv[1:])
