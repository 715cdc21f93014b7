"""The service as a child process, and everything that a caller needs."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from chancery_testkit.errors import BinaryNotFound, CommandFailed, DidNotStart

_POLL_SECONDS = 0.01
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Identity:
    """A caller's certificate and private key, PEM files."""

    certificate: Path
    private_key: Path


class Chancery:
    """A running service. Make one with `Chancery.start()`; use it as a context manager, or call `stop()`.

    Its caller may sign and verify in the ring `keyRings/dev`; its operator administers keys and policy and reads the record,
    and can never sign. The service also stops by itself when the process that started it ends, however that ends.
    """

    def __init__(self, process: subprocess.Popen[bytes], binary: Path, folder: Path, announcement: dict[str, Any]) -> None:
        self._process = process
        self._binary = binary
        self._folder = folder
        self.endpoint: str = announcement["endpoint"]
        """`https://127.0.0.1:PORT`."""
        self.admin_endpoint: str | None = announcement.get("admin_endpoint")
        """Metrics and probes, `http://127.0.0.1:PORT`."""
        self.key_ring: str = announcement["key_ring"]
        """The ring of the development token: `keyRings/dev`."""
        self.ca = Path(announcement["ca"])
        """The authority that issued the server's certificate, PEM."""
        self.caller = _identity(announcement["caller"])
        """Signs and verifies."""
        self.operator = _identity(announcement["operator"])
        """Administers keys and policy, reads the record."""
        self.config = Path(announcement["config"])
        """The service's configuration."""

    @classmethod
    def start(cls, binary: str | os.PathLike[str] | None = None, timeout: float = 90.0) -> Chancery:
        """Starts a service with a token of its own in a temporary folder, at free ports, and returns when it serves.

        `binary` is the program; `$CHANCERY_BIN` where not given, else `chancery` on the PATH. `timeout` is in seconds. With
        `$CHANCERY_TESTKIT_KEEP` set, the folder stays for inspection.
        """
        program = _find(binary)
        folder = Path(tempfile.mkdtemp(prefix="chancery-test-"))
        # Standard input is the line of life: its end, at the latest when this process ends, stops the service. A session of
        # its own: Ctrl-C is for the tests, whose teardown needs the service still.
        with _log(folder).open("wb") as log:
            process = subprocess.Popen(
                [program, "dev", "--dir", folder / "dev", "--stop-on-eof"]
                + ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return cls(process, program, folder, _announcement(process, folder, timeout))
        except BaseException:
            _end(process, folder)
            raise

    @property
    def target(self) -> str:
        """The address as gRPC wants it: `127.0.0.1:PORT`."""
        return self.endpoint.removeprefix("https://")

    @property
    def dir(self) -> Path:
        """The folder of `chancery dev`: give it as `CHANCERY_DEV` to programs that are to call this service."""
        return self._folder / "dev"

    @property
    def log(self) -> str:
        """What the service has said until now."""
        return _read_log(self._folder)

    def credentials(self, identity: Identity | None = None) -> grpc.ChannelCredentials:
        """Channel credentials of an identity; the caller's where none is given."""
        identity = identity or self.caller
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes(),
            private_key=identity.private_key.read_bytes(),
            certificate_chain=identity.certificate.read_bytes(),
        )

    def channel(
        self, identity: Identity | None = None, options: Sequence[tuple[str, Any]] | None = None
    ) -> grpc.Channel:
        """A channel with mutual TLS, as the caller where no identity is given. Close it, or use it as a context manager."""
        return grpc.secure_channel(self.target, self.credentials(identity), options)

    def aio_channel(
        self, identity: Identity | None = None, options: Sequence[tuple[str, Any]] | None = None
    ) -> grpc.aio.Channel:
        """The same for asyncio."""
        return grpc.aio.secure_channel(self.target, self.credentials(identity), options)

    def ssl_context(self, identity: Identity | None = None) -> ssl.SSLContext:
        """For HTTP clients, for example to fetch `/.well-known/jwks.json`."""
        identity = identity or self.caller
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(identity.certificate, identity.private_key)
        return context

    def create_key(
        self, key_id: str | None = None, algorithm: str = "ECDSA_P256_SHA256", allow_digest: bool = False
    ) -> str:
        """Creates a key as the operator; answers its name, `keyRings/dev/keys/ID`. A new ID where none is given."""
        name = f"{self.key_ring}/keys/{key_id or 'test-' + uuid.uuid4().hex[:12]}"
        self.cli("keys", "create", name, "--algorithm", algorithm, *(["--allow-digest"] if allow_digest else []))
        return name

    def cli(self, *arguments: str) -> str:
        """Runs a command of `chancery` against this service (`keys list`, `policy apply`, ...); answers what it printed.

        Commands that sign run as the caller, the others as the operator, unless `--as` says otherwise.
        """
        hidden = ("CHANCERY_ENDPOINT", "CHANCERY_CA", "CHANCERY_CERT", "CHANCERY_KEY")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment["CHANCERY_DEV"] = str(self.dir)
        done = subprocess.run(
            [self._binary, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise CommandFailed(f"chancery {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return done.stdout

    def stop(self) -> None:
        """Stops the service and removes its folder. Can be called again."""
        _end(self._process, self._folder)

    def __enter__(self) -> Chancery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Chancery at {self.endpoint} in {self.dir}>"


def _find(binary: str | os.PathLike[str] | None) -> Path:
    given = os.fspath(binary) if binary is not None else os.environ.get("CHANCERY_BIN") or None
    if given is not None:
        path = Path(given).absolute()
        if not os.access(path, os.X_OK) or path.is_dir():
            source = "the binary that was given" if binary is not None else "what $CHANCERY_BIN names"
            raise BinaryNotFound(f"{source}, {path}, is not there or cannot be run")
        return path
    found = shutil.which("chancery")
    if found is None:
        raise BinaryNotFound(
            "the program chancery is not on the PATH; install it (cargo install --path crates/cli in Chancery's source tree), "
            "or set $CHANCERY_BIN to where it was built (target/debug/chancery)"
        )
    return Path(found).absolute()


def _announcement(process: subprocess.Popen[bytes], folder: Path, timeout: float) -> dict[str, Any]:
    """Waits for dev.json, which appears whole when the service serves."""
    until = time.monotonic() + timeout
    while True:
        try:
            announcement: dict[str, Any] = json.loads((folder / "dev" / "dev.json").read_bytes())
            return announcement
        except FileNotFoundError:
            pass
        if process.poll() is not None:
            raise DidNotStart(f"chancery dev ended with {process.returncode}; it said:\n{_read_log(folder)}")
        if time.monotonic() > until:
            raise DidNotStart(f"chancery dev did not serve within {timeout:g} s; it said:\n{_read_log(folder)}")
        time.sleep(_POLL_SECONDS)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End of input, patience, SIGKILL; then the folder goes."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if not os.environ.get("CHANCERY_TESTKIT_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)


def _identity(pair: dict[str, str]) -> Identity:
    return Identity(certificate=Path(pair["cert"]), private_key=Path(pair["key"]))


def _log(folder: Path) -> Path:
    return folder / "log"


def _read_log(folder: Path) -> str:
    try:
        return _log(folder).read_text(errors="replace")
    except FileNotFoundError:
        return ""
