"""The pytest plugin: fixtures `chancery` and `chancery_key`, and the service's log with each test that failed.

With pytest-xdist each worker has a service of its own, since each has a session of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chancery_testkit.errors import ChanceryError
from chancery_testkit.service import Chancery

_SERVICE = pytest.StashKey[Chancery]()
_HEARD = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def chancery(request: pytest.FixtureRequest) -> Iterator[Chancery]:
    """A service for the whole session: started when the first test asks for it, stopped after the last."""
    try:
        service = Chancery.start()
    except ChanceryError as error:
        pytest.fail(str(error), pytrace=False)
    with service:
        request.config.stash[_SERVICE] = service
        yield service
        del request.config.stash[_SERVICE]


@pytest.fixture
def chancery_key(chancery: Chancery) -> str:
    """The name of a new P-256 key, `keyRings/dev/keys/...`, for this test alone. Its caller may sign with it."""
    return chancery.create_key()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    service = item.config.stash.get(_SERVICE, None)
    item.stash[_HEARD] = len(service.log) if service else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    service = item.config.stash.get(_SERVICE, None)
    if report.failed and service is not None and "chancery" in getattr(item, "fixturenames", ()):
        report.sections.append(("chancery's log during this test", service.log[item.stash.get(_HEARD, 0) :]))
    return report
