"""Stubs, generated from the contract as your own service would generate its own."""

import sys
from pathlib import Path

import grpc_tools
import pytest
from grpc_tools import protoc

PROTO = Path(__file__).parents[3] / "proto"


def pytest_configure(config: pytest.Config) -> None:
    # Before test modules are imported; each xdist worker has a folder of its own.
    stubs = Path(config.cache.mkdir("stubs")) / getattr(config, "workerinput", {}).get("workerid", "main")
    stubs.mkdir(exist_ok=True)
    files = [str(file) for file in sorted(PROTO.glob("chancery/v1/*.proto"))]
    includes = [f"-I{PROTO}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    if protoc.main(["protoc", *includes, f"--python_out={stubs}", f"--grpc_python_out={stubs}", *files]) != 0:
        raise pytest.UsageError(f"the stubs of {PROTO} cannot be generated")
    sys.path.insert(0, str(stubs))
