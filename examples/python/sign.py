"""Calls Chancery as a service would: signs, checks the signature, makes a JWT, streams, and reads why a call was denied.

Usage: CHANCERY_DEV=DIR python sign.py [KEY], or CHANCERY_ENDPOINT, CHANCERY_CA, CHANCERY_CERT and CHANCERY_KEY in place of
CHANCERY_DEV. KEY is the name of a P-256 key, keyRings/dev/keys/example where not given.
"""

import json
import os
import ssl
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import grpc
import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from google_crc32c import value as crc32c
from grpc_status import rpc_status

from chancery.v1 import signing_service_pb2 as pb
from chancery.v1.signing_service_pb2_grpc import SigningServiceStub

TIMEOUT = 10  # seconds, told to the service, which stops working on what nobody waits for


@dataclass(frozen=True)
class Connection:
    """How to reach the service, and as whom: PEM files."""

    endpoint: str
    ca: Path
    cert: Path
    key: Path

    @classmethod
    def from_environment(cls) -> "Connection":
        if folder := os.environ.get("CHANCERY_DEV"):
            dev = json.loads(Path(folder, "dev.json").read_text())
            caller = dev["caller"]
            return cls(dev["endpoint"], Path(dev["ca"]), Path(caller["cert"]), Path(caller["key"]))
        try:
            ca, cert, key = (Path(os.environ[f"CHANCERY_{name}"]) for name in ("CA", "CERT", "KEY"))
            return cls(os.environ["CHANCERY_ENDPOINT"], ca, cert, key)
        except KeyError as missing:
            raise SystemExit(f"set CHANCERY_DEV, or {missing.args[0]}; see the first lines of {__file__}") from None

    def channel(self) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes(),
            private_key=self.key.read_bytes(),
            certificate_chain=self.cert.read_bytes(),
        )
        return grpc.secure_channel(self.endpoint.removeprefix("https://"), credentials)

    def ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.cert, self.key)
        return context


def sign_request(key: str, message: bytes) -> pb.SignRequest:
    return pb.SignRequest(name=key, input=pb.SignInput(message=message, crc32c=crc32c(message)))


def intact(signed: pb.SignResponse) -> pb.SignResponse:
    """The answer, unless it or its request was damaged on the way."""
    if not signed.verified_input_crc32c or crc32c(signed.signature) != signed.signature_crc32c:
        raise RuntimeError("damaged on the way; call again")
    return signed


def public_key(signing: SigningServiceStub, version: str) -> ec.EllipticCurvePublicKey:
    answer = signing.GetPublicKey(pb.GetPublicKeyRequest(name=version), timeout=TIMEOUT)
    if crc32c(answer.data) != answer.data_crc32c:
        raise RuntimeError("damaged on the way; call again")
    key = serialization.load_pem_public_key(answer.data)
    assert isinstance(key, ec.EllipticCurvePublicKey), "not a P-256 key"
    return key


def sign(signing: SigningServiceStub, key: str) -> None:
    message = b"pay 5 to Ada"
    signed = intact(signing.Sign(sign_request(key, message), timeout=TIMEOUT))
    # Keep signed.name with the signature: after a rotation the key's name means another version.
    public_key(signing, signed.name).verify(signed.signature, message, ec.ECDSA(hashes.SHA256()))
    print(f"signed and verified with {signed.name}, record {signed.record_index}")


def sign_jwt(signing: SigningServiceStub, key: str, connection: Connection) -> None:
    claims = {"iss": "https://billing.example", "sub": "ada", "aud": "https://ledger.example"}
    request = pb.SignJwtRequest(name=key, claims=json.dumps(claims), lifetime=Duration(seconds=300))
    token = signing.SignJwt(request, timeout=TIMEOUT).token
    # What the receiver of the token does. It fetches the keys once in a while, not for each token.
    jwks_uri = f"{connection.endpoint}/.well-known/jwks.json?{urllib.parse.urlencode({'name': key})}"
    keys = jwt.PyJWKClient(jwks_uri, ssl_context=connection.ssl_context())
    verified = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["ES256"],
        issuer="https://billing.example",
        audience="https://ledger.example",
        options={"require": ["exp", "iat", "sub"]},
    )
    print(f"JWT of {verified['sub']} verified through JWKS")


def stream(signing: SigningServiceStub, key: str) -> None:
    messages = {f"invoice-{n}": f"pay {n} to Ada".encode() for n in range(5)}
    # Made before the first answer comes: gRPC reads the requests on a thread of its own, while `messages` shrinks below.
    requests = [
        pb.StreamSignRequest(correlation_id=number, request=sign_request(key, message))
        for number, message in messages.items()
    ]
    # Answers come as they are ready, in any order. One that failed does not end the stream.
    for answer in signing.StreamSign(iter(requests), timeout=TIMEOUT):
        if answer.WhichOneof("result") == "error":
            raise RuntimeError(f"{answer.correlation_id}: {answer.error.message}")
        signed = intact(answer.response)
        message = messages.pop(answer.correlation_id)
        public_key(signing, signed.name).verify(signed.signature, message, ec.ECDSA(hashes.SHA256()))
    assert not messages, f"not answered: {', '.join(messages)}"
    print("streamed 5 signatures")


def be_denied(signing: SigningServiceStub) -> None:
    try:
        signing.Sign(sign_request("keyRings/dev/keys/not-mine", b"pay 5 to Eve"), timeout=TIMEOUT)
    except grpc.RpcError as error:
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(error)
        if status is None or not any(detail.Unpack(info) for detail in status.details):
            raise
        # Decide by the reason, which is stable; the message is for people.
        assert (info.domain, info.reason) == ("chancery", "ACCESS_DENIED"), info
        print(f"denied as it should be: {error.code().name}, {info.reason}")
    else:
        raise RuntimeError("the call was not denied")


def main() -> None:
    key = sys.argv[1] if len(sys.argv) > 1 else "keyRings/dev/keys/example"
    connection = Connection.from_environment()
    with connection.channel() as channel:  # one for the life of your service: calls share it
        signing = SigningServiceStub(channel)
        sign(signing, key)
        sign_jwt(signing, key, connection)
        stream(signing, key)
        be_denied(signing)


if __name__ == "__main__":
    main()
