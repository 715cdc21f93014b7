"""A caller in another language: stubs generated from proto/, certificates from dev.json, nothing else.

Creates keys as the operator; signs, verifies and fetches public keys as the caller; checks the signatures with
`cryptography`, which knows nothing of Chancery; and reads the reason of a refusal. Exits with 1 at the first surprise.

Usage: sign_and_verify.py DEV_JSON STUBS
"""

import json
import pathlib
import sys
import uuid

sys.path.insert(0, sys.argv[2])

import grpc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from google.rpc import error_details_pb2
from google_crc32c import value as crc32c
from grpc_status import rpc_status

from chancery.v1 import (
    key_service_pb2,
    key_service_pb2_grpc,
    resources_pb2,
    signing_service_pb2,
    signing_service_pb2_grpc,
)

MESSAGE = "Grüße aus Python\n".encode()


def channel(dev, who):
    credentials = grpc.ssl_channel_credentials(
        root_certificates=pathlib.Path(dev["ca"]).read_bytes(),
        private_key=pathlib.Path(dev[who]["key"]).read_bytes(),
        certificate_chain=pathlib.Path(dev[who]["cert"]).read_bytes(),
    )
    return grpc.secure_channel(dev["endpoint"].removeprefix("https://"), credentials)


def check_with_cryptography(pem, signature, message):
    key = serialization.load_pem_public_key(pem)
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey), type(key)
        key.verify(signature, message)


def sign_and_check(keys, signing, ring, algorithm):
    name = f"python-{uuid.uuid4().hex[:12]}"
    key = keys.CreateKey(
        key_service_pb2.CreateKeyRequest(
            parent=ring,
            key_id=name,
            key=resources_pb2.Key(algorithm=algorithm, labels={"language": "python"}),
            request_id=str(uuid.uuid4()),
        )
    )
    message = signing_service_pb2.SignInput(message=MESSAGE, crc32c=crc32c(MESSAGE))
    signed = signing.Sign(signing_service_pb2.SignRequest(name=key.name, input=message))
    assert signed.name == key.primary_version, signed
    assert signed.verified_input_crc32c
    assert signed.signature_crc32c == crc32c(signed.signature)

    public = signing.GetPublicKey(signing_service_pb2.GetPublicKeyRequest(name=signed.name))
    assert public.data_crc32c == crc32c(public.data)
    check_with_cryptography(public.data, signed.signature, MESSAGE)
    try:
        check_with_cryptography(public.data, signed.signature, MESSAGE + b"!")
    except InvalidSignature:
        pass
    else:
        raise AssertionError("a signature was valid for another message")

    def verdict(message):
        given = signing_service_pb2.SignInput(message=message)
        request = signing_service_pb2.VerifyRequest(name=signed.name, input=given, signature=signed.signature)
        return signing.Verify(request).valid

    assert verdict(MESSAGE)
    assert not verdict(MESSAGE + b"!")
    print(f"{resources_pb2.Algorithm.Name(algorithm)}: signed and verified with {signed.name}")
    return key.name


def refusal(call, request):
    try:
        call(request)
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return error.code(), info.domain, info.reason
        raise AssertionError(f"no ErrorInfo in {error}") from error
    raise AssertionError("the call was not refused")


def main():
    dev = json.loads(pathlib.Path(sys.argv[1]).read_text())
    with channel(dev, "operator") as operator, channel(dev, "caller") as caller:
        keys = key_service_pb2_grpc.KeyServiceStub(operator)
        signing = signing_service_pb2_grpc.SigningServiceStub(caller)
        names = [
            sign_and_check(keys, signing, dev["key_ring"], algorithm)
            for algorithm in (
                resources_pb2.ALGORITHM_RSA_PKCS1_2048_SHA256,
                resources_pb2.ALGORITHM_ECDSA_P256_SHA256,
                resources_pb2.ALGORITHM_ED25519,
            )
        ]
        denied = (grpc.StatusCode.PERMISSION_DENIED, "chancery", "ACCESS_DENIED")
        message = signing_service_pb2.SignInput(message=MESSAGE)
        unknown = signing_service_pb2.SignRequest(name=f"{dev['key_ring']}/keys/no-such-key", input=message)
        assert refusal(signing.Sign, unknown) == denied
        # No administering role can sign.
        operators_signing = signing_service_pb2_grpc.SigningServiceStub(operator)
        request = signing_service_pb2.SignRequest(name=names[1], input=message)
        assert refusal(operators_signing.Sign, request) == denied
    print("Python: all as expected")


if __name__ == "__main__":
    main()
