"""A real Chancery on a real SoftHSM in a temporary folder, for your own tests.

In scope: starting the binary (`chancery dev`), channels to it with mutual TLS, keys, its log, stopping it; pytest fixtures
for all of that (`chancery_testkit.plugin`). Out of scope: mocks (nothing here pretends), and generated stubs: use those of
your own service, this package brings none that could collide with them.

    from chancery_testkit import Chancery

    with Chancery.start() as chancery:
        key = chancery.create_key()
        with chancery.channel() as channel:
            ...  # SigningServiceStub(channel).Sign(...)
"""

from chancery_testkit.errors import BinaryNotFound, ChanceryError, CommandFailed, DidNotStart
from chancery_testkit.service import Chancery, Identity

__all__ = ["BinaryNotFound", "Chancery", "ChanceryError", "CommandFailed", "DidNotStart", "Identity"]
