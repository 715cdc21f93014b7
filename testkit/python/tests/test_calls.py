"""What users do with the fixtures: call the service by stubs of their own, and check its answers with their own libraries."""

import uuid

import grpc
import pytest
from chancery.v1 import (
    key_service_pb2,
    key_service_pb2_grpc,
    resources_pb2,
    signing_service_pb2,
    signing_service_pb2_grpc,
)
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from google.rpc import error_details_pb2
from google_crc32c import value as crc32c
from grpc_status import rpc_status

from chancery_testkit import Chancery, CommandFailed

MESSAGE = "Grüße aus Python\n".encode()


@pytest.fixture
def signing(chancery: Chancery):
    with chancery.channel() as channel:
        yield signing_service_pb2_grpc.SigningServiceStub(channel)


def sign_request(name: str, message: bytes = MESSAGE) -> signing_service_pb2.SignRequest:
    given = signing_service_pb2.SignInput(message=message, crc32c=crc32c(message))
    return signing_service_pb2.SignRequest(name=name, input=given)


def verify_locally(pem: bytes, signature: bytes, message: bytes) -> None:
    """By `cryptography`, which knows nothing of Chancery; raises InvalidSignature."""
    key = serialization.load_pem_public_key(pem)
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    else:
        assert isinstance(key, ed25519.Ed25519PublicKey), type(key)
        key.verify(signature, message)


def reason(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, str]:
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return error.code(), info.domain, info.reason
    raise AssertionError(f"no ErrorInfo in {error}")


DENIED = (grpc.StatusCode.PERMISSION_DENIED, "chancery", "ACCESS_DENIED")


@pytest.mark.parametrize("algorithm", ["RSA_PKCS1_2048_SHA256", "ECDSA_P256_SHA256", "ED25519"])
def test_signatures_hold_in_another_library(chancery: Chancery, signing, algorithm: str) -> None:
    signed = signing.Sign(sign_request(chancery.create_key(algorithm=algorithm)))
    assert signed.verified_input_crc32c
    assert signed.signature_crc32c == crc32c(signed.signature)
    public = signing.GetPublicKey(signing_service_pb2.GetPublicKeyRequest(name=signed.name))
    assert public.data_crc32c == crc32c(public.data)
    verify_locally(public.data, signed.signature, MESSAGE)
    with pytest.raises(InvalidSignature):
        verify_locally(public.data, signed.signature, MESSAGE + b"!")


def test_the_service_verifies_too(signing, chancery_key: str) -> None:
    signed = signing.Sign(sign_request(chancery_key))

    def verdict(message: bytes) -> bool:
        given = signing_service_pb2.SignInput(message=message)
        request = signing_service_pb2.VerifyRequest(name=signed.name, input=given, signature=signed.signature)
        return signing.Verify(request).valid

    assert verdict(MESSAGE)
    assert not verdict(MESSAGE + b"!")


def test_the_operator_creates_keys_and_cannot_sign(chancery: Chancery) -> None:
    with chancery.channel(chancery.operator) as channel:
        created = key_service_pb2_grpc.KeyServiceStub(channel).CreateKey(
            key_service_pb2.CreateKeyRequest(
                parent=chancery.key_ring,
                key_id=f"operators-{uuid.uuid4().hex[:8]}",
                key=resources_pb2.Key(
                    algorithm=resources_pb2.ALGORITHM_ECDSA_P256_SHA256, labels={"language": "python"}
                ),
                request_id=str(uuid.uuid4()),
            )
        )
        assert created.primary_version == f"{created.name}/versions/1"
        with pytest.raises(grpc.RpcError) as denied:
            signing_service_pb2_grpc.SigningServiceStub(channel).Sign(sign_request(created.name))
    assert reason(denied.value) == DENIED


def test_an_unknown_key_looks_like_a_denied_one(chancery: Chancery, signing) -> None:
    with pytest.raises(grpc.RpcError) as denied:
        signing.Sign(sign_request(f"{chancery.key_ring}/keys/no-such-key"))
    assert reason(denied.value) == DENIED


def test_asyncio_channels_work(chancery: Chancery, chancery_key: str) -> None:
    import asyncio

    async def sign() -> bytes:
        async with chancery.aio_channel() as channel:
            answer = await signing_service_pb2_grpc.SigningServiceStub(channel).Sign(sign_request(chancery_key))
            return answer.signature

    assert asyncio.run(sign())


def test_the_command_line_is_at_hand(chancery: Chancery, chancery_key: str) -> None:
    assert chancery_key in chancery.cli("keys", "list")
    with pytest.raises(CommandFailed, match="no-such"):
        chancery.cli("keys", "show", "dev/no-such")
