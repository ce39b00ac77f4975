"""The lease and its watchdog, which is a real process, on a device that is a file."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quasim.codec import to_json
from quasim.energy import watchdog
from quasim.energy.actuators import Permissions, Setting, SimulatedActuator
from quasim.energy.hands import SimulatedHands
from quasim.energy.lease import CapLease, CapLeaseError, Charge
from quasim.worker.process import ROOT

BEFORE, CAPPED = Setting(650.0), Setting(300.0)
PROMISED_S = 5.0

HOLDER = """
import sys, time
from pathlib import Path
from quasim.codec import from_json
from quasim.energy.actuators import Setting
from quasim.energy.lease import CapLease, Charge
charge = from_json(sys.argv[1], Charge)
lease = CapLease(charge)
lease.renew()
charge.hands.open().apply(Setting(300.0))
print("set", flush=True)
while True:
    time.sleep(0.2)
    lease.renew()
"""


@pytest.fixture
def charge(tmp_path: Path) -> Charge:
    device = SimulatedActuator(tmp_path / "gpu.json")
    device.apply(BEFORE)
    return Charge(SimulatedHands(str(tmp_path / "gpu.json")), str(tmp_path), "gpu")


def setting(charge: Charge) -> Setting:
    return charge.hands.open().setting()


def restored_within(charge: Charge, seconds: float) -> bool:
    """Whether the device is as it was before so long has passed."""
    deadline = time.monotonic() + seconds
    while setting(charge) != BEFORE and time.monotonic() < deadline:
        time.sleep(0.02)
    return setting(charge) == BEFORE


def wait_for_lock(charge: Charge) -> None:
    """Until the watchdog has ended, which holds the lock as long as it lives."""
    with charge.lock.open("w") as file:
        deadline = time.monotonic() + PROMISED_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.02)
    pytest.fail("the watchdog lives on")


def holder(charge: Charge) -> subprocess.Popen[str]:
    """A process that holds the lease and has capped the device."""
    command = [sys.executable, "-c", HOLDER, to_json(charge).decode()]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "set\n"
    assert setting(charge) == CAPPED
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_holder_that_is_killed_leaves_the_device_as_it_was(charge: Charge) -> None:
    process = holder(charge)
    os.kill(process.pid, signal.SIGKILL)
    assert restored_within(charge, PROMISED_S)
    end(process)


def test_ending_the_holders_whole_group_does_not_end_the_watchdog(charge: Charge) -> None:
    process = holder(charge)
    os.killpg(process.pid, signal.SIGKILL)
    assert restored_within(charge, PROMISED_S)
    end(process)


def test_a_holder_that_hangs_is_given_up(charge: Charge) -> None:
    process = holder(charge)
    os.kill(process.pid, signal.SIGSTOP)
    assert restored_within(charge, PROMISED_S)
    end(process)


def test_release_puts_back_before_it_returns_and_ends_the_watchdog(charge: Charge) -> None:
    lease = CapLease(charge)
    lease.renew()
    charge.hands.open().apply(CAPPED)
    lease.release()
    assert setting(charge) == BEFORE
    assert not charge.kept.exists()
    assert not lease.held
    lease.release()
    wait_for_lock(charge)


def test_after_the_release_nothing_may_be_renewed(charge: Charge) -> None:
    lease = CapLease(charge)
    lease.release()
    with pytest.raises(CapLeaseError, match="take the lease anew"):
        lease.renew()


def test_a_lease_that_was_given_up_says_so_to_its_holder(charge: Charge) -> None:
    lease = CapLease(Charge(charge.hands, charge.folder, charge.name, silence_s=0.1))
    charge.hands.open().apply(CAPPED)
    assert restored_within(charge, PROMISED_S)
    # It put back before it ended, and only its end closes the pipe.
    wait_for_lock(charge)
    with pytest.raises(CapLeaseError, match="is gone"):
        lease.renew()
    assert not lease.held


def test_what_a_dead_watchdog_left_is_put_back_by_the_next(charge: Charge) -> None:
    charge.hands.open().apply(CAPPED)
    charge.kept.write_bytes(to_json(BEFORE))
    lease = CapLease(charge)
    assert setting(charge) == BEFORE
    lease.release()
    assert setting(charge) == BEFORE


def test_hands_that_do_not_open_give_no_lease_and_say_why(tmp_path: Path) -> None:
    (tmp_path / "gpu.json").write_text("no setting")
    with pytest.raises(CapLeaseError, match="cannot be read"):
        CapLease(Charge(SimulatedHands(str(tmp_path / "gpu.json")), str(tmp_path), "gpu"))


def test_what_was_in_force_is_kept_for_the_eyes_of_its_owner_alone(charge: Charge) -> None:
    lease = CapLease(charge)
    modes = [path.stat().st_mode & 0o777 for path in (charge.kept, charge.lock)]
    lease.release()
    assert modes == [0o600, 0o600]


@pytest.mark.parametrize("planted", ["writable by all", "link"])
def test_what_others_may_have_planted_is_not_set(charge: Charge, tmp_path: Path, planted: str) -> None:
    evil = tmp_path / "evil"
    evil.write_bytes(to_json(CAPPED))
    if planted == "link":
        charge.kept.symlink_to(evil)
    else:
        evil.rename(charge.kept).chmod(0o666)
    with pytest.raises(CapLeaseError, match="others own or may write"):
        CapLease(charge)
    assert setting(charge) == BEFORE


def test_what_cannot_be_put_back_is_not_forgotten(
    charge: Charge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watchdog, "AGAIN_S", 0.0)
    charge.kept.write_bytes(to_json(Setting(None, 990.0)))
    device = SimulatedActuator(Path(charge.folder, "gpu.json"), Permissions("", "not on this board"))
    with pytest.raises(CapLeaseError, match="does not take back"):
        watchdog.watch(charge, device)
    assert charge.outstanding() == Setting(None, 990.0)
    assert "not yet put back" in capsys.readouterr().err
