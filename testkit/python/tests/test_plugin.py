"""The plugin as pytest runs it, in sessions of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import chancery_testkit


def test_each_xdist_worker_has_its_own_service(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pathlib, time
        import pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it(chancery, n):
            pathlib.Path("endpoints").mkdir(exist_ok=True)
            pathlib.Path("endpoints", chancery.target.replace(":", "-")).touch()
            time.sleep(0.3)  # so that one worker cannot take all
        """
    )
    pytester.runpytest_subprocess("-n", "3").assert_outcomes(passed=6)
    assert len(list((pytester.path / "endpoints").iterdir())) == 3


def test_a_failed_test_shows_the_log_of_its_time(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_before(chancery):
            pass

        def test_it(chancery):
            chancery.cli("health")
            with open(chancery.dir.parent / "log", "a") as log:
                log.write("said during the test\\n")
            assert False
        """
    )
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*chancery's log during this test*", "said during the test"])
    done.stdout.no_fnmatch_line("*the service takes calls*")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"CHANCERY_BIN": "/nowhere/chancery"}, "*CHANCERY_BIN*/nowhere/chancery*is not there*"),
        ({"CHANCERY_BIN": "", "PATH": "/nowhere"}, "*not on the PATH*set $CHANCERY_BIN*"),
        ({"SOFTHSM2_MODULE": "/nowhere/libsofthsm2.so"}, "*SoftHSM 2*was not found*"),
    ],
)
def test_what_is_missing_is_said(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    pytester.makepyfile("def test_it(chancery): pass")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([message])
    done.stdout.no_fnmatch_line("*Traceback*")


def test_the_service_ends_with_tests_that_are_killed(tmp_path: Path) -> None:
    program = "import chancery_testkit, time; print(chancery_testkit.Chancery.start().dir, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        service = int((folder / "dev.lock").read_text())
        os.kill(service, 0)
        tests.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while (folder / "dev.json").exists():
        assert time.monotonic() < until, "the service outlives its tests"
        time.sleep(0.05)


def test_a_stopped_service_leaves_nothing() -> None:
    with chancery_testkit.Chancery.start() as chancery:
        folder = chancery.dir.parent
        assert folder.is_dir() and "takes calls" in chancery.log
    chancery.stop()
    assert not folder.exists()
