from __future__ import annotations

from dataclasses import dataclass

import pytest

from quasim.meters.energy import Energy
from quasim.trial import EnergySource, Problem, Status
from quasim.worker.desk import DeskBase
from quasim.worker.protocol import Entry, Failed, Library, Outcome, Plan, Prepare, Prepared, Ran, Run, Variant

PROBLEM = Problem.of("p", n=1)
TWICE = Plan(rounds=2)
JOULE = Energy(j_per_op=1.0, low=0.9, high=1.1, source=EnergySource.COUNTER)


@dataclass
class Nothing:
    bytes: int = 1
    set_count: int = 1
    set_bytes: int = 1


class Scripted:
    """Fails where its name says so."""

    def __init__(self, script: str) -> None:
        self.script = script

    def check(self) -> Outcome:
        self._maybe_fail("check")
        return Outcome(status=Status.OK)

    def window(self, plan: Plan, best_ns: float | None) -> tuple[int, ...]:
        self._maybe_fail("window")
        return (5, 6)

    def energy(self, window_ns: int) -> Energy:
        self._maybe_fail("energy")
        return JOULE

    def _maybe_fail(self, when: str) -> None:
        if when in self.script:
            raise RuntimeError(self.script)


class PoisonableDesk(DeskBase[Nothing]):
    """A desk whose process an entry can leave unfit, as a GPU's context can be."""

    def open_bench(self, problem: Problem, seed: int) -> Nothing:
        if problem.kernel != "p":
            raise RuntimeError(problem.kernel)
        return Nothing()

    def competitor(self, entry: Entry, bench: Nothing) -> Scripted:
        return Scripted(entry.path if isinstance(entry, Variant) else "")

    def settle(self) -> None:
        pass

    def judge(self, error: Exception) -> tuple[Status, str]:
        if "poison" in str(error):
            self.spent = True
            return Status.CRASHED, str(error)
        return super().judge(error)


def _run(*scripts: str, plan: Plan = TWICE) -> Ran:
    desk = PoisonableDesk(10)
    desk.serve(Prepare(PROBLEM, 0))
    ran = desk.serve(Run(PROBLEM, 0, tuple(Variant(script) if script else Library() for script in scripts), plan))
    assert isinstance(ran, Ran)
    return ran


@pytest.mark.parametrize("when", ["check", "window", "energy"])
def test_an_entry_that_poisons_the_process_is_named_and_nothing_runs_after_it(when: str) -> None:
    ran = _run(f"poison {when}", "", plan=Plan(rounds=2, energy_window_ns=1))
    assert ran.spent
    assert ran.outcomes[0].status is Status.CRASHED
    assert ran.outcomes[1].status is not Status.CRASHED
    if when == "check":
        assert ran.outcomes[1].detail.startswith("not run")


def test_a_failure_that_poisons_nothing_leaves_the_others_alone() -> None:
    ran = _run("check", "", "window")
    assert not ran.spent
    assert [o.status for o in ran.outcomes] == [Status.LAUNCH_ERROR, Status.OK, Status.LAUNCH_ERROR]
    assert ran.outcomes[1].windows == ((5, 6), (5, 6))
    assert ran.outcomes[2].detail == "while timed: RuntimeError: window"


def test_energy_is_read_once_where_the_plan_asks_for_it() -> None:
    assert _run("", plan=Plan(energy_window_ns=1)).outcomes[0].energy == JOULE
    assert _run("").outcomes[0].energy is None


def test_a_process_that_is_poisoned_outside_any_entry_ends() -> None:
    with pytest.raises(RuntimeError, match="poison"):
        PoisonableDesk(10).serve(Prepare(Problem.of("poison", n=1), 0))
    assert isinstance(PoisonableDesk(10).serve(Prepare(Problem.of("fails", n=1), 0)), Failed)


class CrowdedDesk(PoisonableDesk):
    """Has memory for one problem."""

    def open_bench(self, problem: Problem, seed: int) -> Nothing:
        if self._benches:
            raise MemoryError("one is too many")
        return Nothing()


def test_a_problem_that_finds_no_memory_beside_others_takes_their_place() -> None:
    desk = CrowdedDesk(100)
    for seed in (0, 1):
        assert isinstance(desk.serve(Prepare(PROBLEM, seed)), Prepared)
    assert isinstance(desk.serve(Run(PROBLEM, 1, (Library(),), TWICE)), Ran)
    assert isinstance(desk.serve(Run(PROBLEM, 0, (Library(),), TWICE)), Failed)
