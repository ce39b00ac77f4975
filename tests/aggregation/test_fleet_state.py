from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregation.canary import Report, Trials, Verdict
from aggregation.catalogue import Catalogue
from aggregation.distill import local_update
from aggregation.fleet_events import (
    BroadcastPolicy,
    CycleOpened,
    FleetEvent,
    FleetInstruction,
    Log,
    PolicyStored,
    RoundDeadlinePassed,
    RoundEnded,
    StorePolicy,
    Tried,
)
from aggregation.fleet_state import AggregatorCore, Phase
from aggregation.plain import LABEL, PlainClient, PlainServer
from aggregation.rounds import (
    Abandoned,
    Broadcast,
    MessageArrived,
    Refusal,
    Refused,
    RoundClient,
    RoundServer,
    RoundSpec,
    Send,
    from_message,
    to_message,
)
from quasim.errors import DataError
from quasim.policy import Policy
from quasim.prior import prior_for
from quasim.space import Floats
from quasim.trial import Trial
from tests.aggregation.samples import CATALOGUE, MATMUL, NEAR, ROWS, SOFTMAX, SPACE, SPACES, failed, ok
from tests.aggregation.two_step import TwoStepClient, TwoStepServer

NODES = ("n0", "n1", "n2")
TRIALS = {
    "n0": [ok(100.0, 0), ok(130.0, 1), failed(7)],
    "n1": [ok(70.0, 1), ok(90.0, 4), ok(5.0, 2, SOFTMAX, ROWS)],
    "n2": [ok(2000.0, 4), ok(2100.0, 5)],
    "late": [ok(3.0, 6)],
}
Protocol = Callable[[RoundSpec], RoundServer]
K = TypeVar("K")
ClientOf = Callable[[Floats, str], RoundClient]


def core(floor: int = 2, protocol: Protocol = PlainServer, catalogue: Catalogue = CATALOGUE) -> AggregatorCore:
    return AggregatorCore("lab", catalogue, floor, protocol)


class Fleet:
    """Runs a core with real clients and a registry, as the actors do: state is saved before anything is done."""

    def __init__(self, client_of: ClientOf = PlainClient, protocol: Protocol = PlainServer, floor: int = 2) -> None:
        self.core = core(floor, protocol)
        self.client_of = client_of
        self.saved = self.core.state()
        self.registry: list[Policy] = []
        self.log: list[FleetInstruction] = []
        self.clients: dict[str, RoundClient] = {}

    def cycle(self, cycle: int, roster: tuple[str, ...] = NODES, silent: Iterable[str] = ()) -> None:
        """Open a cycle and let everyone but the silent answer, then let the deadline pass."""
        self.join(*(node for node in roster if node not in set(silent)))
        self.do(self.handle(CycleOpened(cycle, roster)))
        self.do(self.handle(RoundDeadlinePassed(self.core.snapshot().round)))

    def join(self, *nodes: str) -> None:
        """These nodes will answer, in this order; the rest are silent."""
        held = self.registry[-1].digest if self.registry else ""
        self.clients = {n: self.client_of(local_update(CATALOGUE, SPACES, TRIALS[n]), held) for n in nodes}

    def handle(self, event: FleetEvent) -> list[FleetInstruction]:
        instructions = self.core.handle(event)
        self.saved = self.core.state()
        return instructions

    def do(self, instructions: list[FleetInstruction]) -> None:
        for instruction in instructions:
            self.log.append(instruction)
            if isinstance(instruction, StorePolicy):
                self.registry.append(instruction.policy)
                self.do(self.handle(PolicyStored(instruction.policy)))
            elif isinstance(instruction, (Send, Broadcast)):
                self.deliver(instruction)

    def deliver(self, message: Send | Broadcast) -> None:
        nodes = message.nodes if isinstance(message, Broadcast) else (message.node,)
        for node, client in self.clients.items():
            for answer in client.handle(message.data) if node in nodes else []:
                self.do(self.handle(MessageArrived(node, answer)))

    def restart(self) -> list[FleetInstruction]:
        self.core = core()
        instructions = self.core.restore(self.saved, self.registry[-1] if self.registry else None)
        self.saved = self.core.state()
        return instructions


def kinds(instructions: Iterable[FleetInstruction]) -> list[type]:
    return [type(instruction) for instruction in instructions if not isinstance(instruction, (Log, RoundEnded))]


def only(kind: type[K], instructions: Iterable[FleetInstruction]) -> K:
    """The one instruction of this kind."""
    (found,) = (instruction for instruction in instructions if isinstance(instruction, kind))
    return found


def test_a_cycle_asks_sums_stores_and_broadcasts_a_policy() -> None:
    fleet = Fleet()
    fleet.cycle(0)
    assert kinds(fleet.log) == [Broadcast, StorePolicy, BroadcastPolicy]
    (policy,) = fleet.registry
    assert (policy.federation, policy.version, policy.cycle, policy.participants) == ("lab", 1, 0, 3)
    assert policy.protocol == LABEL
    assert fleet.core.policy == policy
    assert fleet.core.snapshot().phase is Phase.IDLE
    prior = prior_for(policy, "c", NEAR, SPACE)
    assert prior is not None
    assert prior.weight.tolist() == [1.0, 2.0, 0.0, 0.0, 2.0, 1.0, 0.0, 1.0]


def test_the_order_of_arrival_does_not_show_in_the_policy() -> None:
    policies = []
    for order in (NODES, NODES[::-1]):
        fleet = Fleet()
        fleet.cycle(0, roster=order)
        policies.append(fleet.registry[0].payload())
    assert policies[0] == policies[1]


def test_a_node_that_drops_out_is_remembered_for_a_while() -> None:
    fleet = Fleet()
    fleet.cycle(0)
    fleet.cycle(1, silent=["n0"])
    first, second = (prior_for(policy, "c", MATMUL, SPACE) for policy in fleet.registry)
    assert first is not None
    assert second is not None
    assert (fleet.registry[1].participants, fleet.registry[1].parent) == (2, fleet.registry[0].digest)
    assert (first.weight[7], second.weight[7]) == (1.0, 0.5)
    assert second.mean[7] == -1.0


def test_below_the_floor_a_cycle_brings_no_policy_and_the_next_one_does() -> None:
    fleet = Fleet()
    fleet.cycle(0, silent=["n0", "n1"])
    assert kinds(fleet.log) == [Broadcast, Abandoned]
    assert fleet.registry == []
    assert fleet.core.snapshot().phase is Phase.IDLE
    fleet.cycle(1)
    assert [policy.version for policy in fleet.registry] == [1]


def test_a_late_joiner_waits_for_the_next_roster() -> None:
    fleet = Fleet()
    fleet.handle(CycleOpened(0, NODES))
    (refused,) = fleet.handle(MessageArrived("late", b"let me in"))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.FOREIGN
    fleet.cycle(1)
    fleet.cycle(2, roster=(*NODES, "late"))
    assert [policy.participants for policy in fleet.registry] == [3, 4]
    prior = prior_for(fleet.registry[-1], "c", MATMUL, SPACE)
    assert prior is not None
    assert prior.weight[6] == 1.0


def test_a_deadline_of_an_earlier_round_ends_nothing() -> None:
    fleet = Fleet()
    fleet.handle(CycleOpened(0, NODES))
    fleet.handle(CycleOpened(1, NODES))
    assert fleet.handle(RoundDeadlinePassed(0)) == []
    assert fleet.core.snapshot().phase is Phase.COLLECTING
    assert kinds(fleet.handle(RoundDeadlinePassed(1))) == [Abandoned]
    assert fleet.handle(RoundDeadlinePassed(1)) == []


def test_a_message_before_any_round_is_refused() -> None:
    (refused,) = core().handle(MessageArrived("n0", b""))
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.LATE


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*NODES, "stranger"]), st.binary(max_size=60)), max_size=8))
def test_nothing_that_nodes_send_raises_or_spoils_the_cycle(messages: list[tuple[str, bytes]]) -> None:
    clean, fleet = Fleet(), Fleet()
    clean.cycle(0)
    opened = fleet.handle(CycleOpened(0, NODES))
    for node, data in messages:
        assert kinds(fleet.handle(MessageArrived(node, data))) == [Refused]
    fleet.join(*NODES)
    fleet.do(opened)
    assert [policy.payload() for policy in fleet.registry] == [clean.registry[0].payload()]


def test_a_protocol_of_several_exchanges_runs_through_the_core() -> None:
    fleet, plain = Fleet(TwoStepClient, TwoStepServer), Fleet()
    fleet.cycle(0)
    plain.cycle(0)
    assert kinds(fleet.log) == [Broadcast, Send, Send, Send, StorePolicy, BroadcastPolicy]
    assert fleet.registry == plain.registry


def test_a_restart_mid_round_asks_again_under_a_new_number_and_gives_the_same_policy() -> None:
    calm, fleet = Fleet(), Fleet()
    for each in (calm, fleet):
        each.cycle(0)
    calm.cycle(1)
    fleet.join(*NODES)
    asked = only(Broadcast, fleet.handle(CycleOpened(1, NODES)))
    (answer,) = fleet.clients["n0"].handle(asked.data)
    fleet.handle(MessageArrived("n0", answer))
    reopened = fleet.restart()
    assert fleet.core.snapshot().round == 2
    (late,) = fleet.handle(MessageArrived("n1", fleet.clients["n1"].handle(asked.data)[0]))
    assert isinstance(late, Refused)
    assert late.reason is Refusal.LATE
    fleet.do(reopened)
    assert [p.payload() for p in fleet.registry] == [p.payload() for p in calm.registry]


def test_a_restart_before_the_policy_was_stored_stores_the_same_bytes() -> None:
    fleet = Fleet()
    fleet.cycle(0)
    again = Fleet()
    again.join(*NODES)
    asked = only(Broadcast, again.handle(CycleOpened(0, NODES)))
    for node in NODES:
        stored = again.handle(MessageArrived(node, again.clients[node].handle(asked.data)[0]))
    assert kinds(stored) == [StorePolicy]
    assert again.core.snapshot().phase is Phase.STORING
    again.do(again.restart())
    assert [p.payload() for p in again.registry] == [p.payload() for p in fleet.registry]
    assert kinds(again.log) == [StorePolicy, BroadcastPolicy]


def test_a_restart_between_storing_and_saving_that_it_was_stored_does_not_store_twice() -> None:
    fleet = Fleet()
    fleet.join(*NODES)
    asked = only(Broadcast, fleet.handle(CycleOpened(0, NODES)))
    for node in NODES:
        instructions = fleet.handle(MessageArrived(node, fleet.clients[node].handle(asked.data)[0]))
    fleet.registry.append(only(StorePolicy, instructions).policy)
    assert kinds(fleet.restart()) == [BroadcastPolicy]
    assert fleet.core.snapshot().phase is Phase.IDLE
    fleet.cycle(1)
    assert [policy.version for policy in fleet.registry] == [1, 2]


def test_an_aggregator_that_lost_its_state_adopts_the_newest_stored_policy_once() -> None:
    fleet = Fleet()
    fleet.cycle(0)
    policy = fleet.registry[0]
    fresh = core()
    assert kinds(fresh.handle(PolicyStored(policy))) == [BroadcastPolicy]
    assert fresh.handle(PolicyStored(policy)) == []
    assert fresh.policy == policy
    assert (fresh.snapshot().cycle, fresh.snapshot().version) == (0, 1)


def test_an_idle_state_restores_to_itself_and_goes_on_with_the_next_version() -> None:
    fleet = Fleet()
    fleet.cycle(0)
    before = fleet.core.snapshot()
    assert fleet.restart() == []
    assert fleet.core.snapshot() == before
    fleet.cycle(1)
    assert [policy.version for policy in fleet.registry] == [1, 2]
    assert fleet.registry[1].parent == fleet.registry[0].digest


def test_a_fleet_restarted_with_more_to_tune_keeps_what_it_knew() -> None:
    narrow = Catalogue.of({("c", MATMUL): SPACE})
    first = AggregatorCore("lab", narrow, 1, PlainServer)
    client = PlainClient(local_update(narrow, SPACES, TRIALS["n0"]), "")
    asked = only(Broadcast, first.handle(CycleOpened(0, ("n0",))))
    store = only(StorePolicy, first.handle(MessageArrived("n0", client.handle(asked.data)[0])))
    first.handle(PolicyStored(store.policy))
    fleet = Fleet(floor=1)
    fleet.core.restore(first.state())
    fleet.registry.append(store.policy)
    fleet.cycle(1, roster=("n1",))
    assert len(fleet.registry[-1].parts) == 2
    assert fleet.registry[-1].parts[0].weights.tolist() == [0.5, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5]


FASTER = [ok(10.0, 7), ok(1.0, 1, SOFTMAX, ROWS)]
"""Of one node: with it both topics lead elsewhere."""


def on_trial(fleet: Fleet, *news: Trial) -> Broadcast:
    """Two cycles, of which the second has such news that a new policy's leaders have to be tried."""
    fleet.core = choosy()
    fleet.cycle(0)
    fleet.join(*NODES)
    fleet.clients["n0"] = PlainClient(
        local_update(CATALOGUE, SPACES, [*TRIALS["n0"], *news]), fleet.registry[-1].digest
    )
    asked = only(Broadcast, fleet.handle(CycleOpened(1, NODES)))
    fleet.log.clear()
    for node in NODES:
        told = fleet.handle(MessageArrived(node, fleet.clients[node].handle(asked.data)[0]))
    return only(Broadcast, told)


def choosy() -> AggregatorCore:
    return AggregatorCore("lab", CATALOGUE, 2, PlainServer, canaries=lambda cycle, nodes: nodes[:2])


def verdicts(asked: Broadcast, given: Verdict) -> list[MessageArrived]:
    tried = from_message(asked.data, Trials)
    report = to_message(Report(tried.policy, (given,) * len(tried.trials)))
    return [MessageArrived(node, report) for node in asked.nodes]


def test_a_policy_that_leads_elsewhere_is_tried_before_it_is_stored() -> None:
    fleet = Fleet()
    asked = on_trial(fleet, *FASTER)
    assert (asked.nodes, fleet.core.snapshot().phase) == (("n0", "n1"), Phase.TRYING)
    first, second = verdicts(asked, Verdict.NOT_SLOWER)
    assert fleet.handle(first) == []
    fleet.do(fleet.handle(second))
    assert kinds(fleet.log) == [Tried, StorePolicy, BroadcastPolicy]
    assert [policy.version for policy in fleet.registry] == [1, 2]


def test_a_policy_that_its_canaries_find_slower_is_held_back_and_the_next_cycle_works() -> None:
    fleet = Fleet()
    for event in verdicts(on_trial(fleet, *FASTER), Verdict.SLOWER):
        fleet.do(fleet.handle(event))
    assert kinds(fleet.log) == [Tried, Abandoned]
    assert [(tally.slower, tally.held) for tally in only(Tried, fleet.log).tallies] == [(2, True), (2, True)]
    assert "held" in only(Abandoned, fleet.log).reason
    assert fleet.core.snapshot().phase is Phase.IDLE
    fleet.cycle(2)
    assert [(policy.version, policy.cycle) for policy in fleet.registry] == [(1, 0), (2, 2)]


def test_a_topic_that_is_held_back_stays_as_it_was_and_the_others_move_on() -> None:
    fleet = Fleet()
    for event in verdicts(on_trial(fleet, FASTER[0], ok(5.0, 2, SOFTMAX, ROWS)), Verdict.SLOWER):
        fleet.do(fleet.handle(event))
    first, second = fleet.registry
    assert [part in first.parts for part in second.parts] == [True, False]


def test_canaries_that_say_nothing_hold_a_policy_back() -> None:
    fleet = Fleet()
    on_trial(fleet, *FASTER)
    fleet.do(fleet.handle(RoundDeadlinePassed(fleet.core.snapshot().round)))
    assert [tally.held for tally in only(Tried, fleet.log).tallies] == [True, True]


def test_a_policy_on_trial_survives_a_restart_and_is_tried_again_without_another_round() -> None:
    fleet = Fleet()
    asked = on_trial(fleet, *FASTER)
    fleet.core = choosy()
    again = only(Broadcast, fleet.core.restore(fleet.saved, fleet.registry[-1]))
    assert again == asked
    assert fleet.core.snapshot().round == 1
    assert only(Broadcast, fleet.core.handle(CycleOpened(1, NODES))) == asked
    for event in verdicts(asked, Verdict.NOT_SLOWER):
        fleet.do(fleet.handle(event))
    assert [policy.version for policy in fleet.registry] == [1, 2]


def test_cycles_out_of_order_or_while_storing_are_the_runners_mistake() -> None:
    fleet = Fleet()
    fleet.cycle(3)
    with pytest.raises(DataError, match="not newer"):
        fleet.handle(CycleOpened(3, NODES))
    storing = core(floor=1)
    client = PlainClient(local_update(CATALOGUE, SPACES, []), "")
    asked = only(Broadcast, storing.handle(CycleOpened(0, ("n0",))))
    storing.handle(MessageArrived("n0", client.handle(asked.data)[0]))
    with pytest.raises(DataError, match="being stored"):
        storing.handle(CycleOpened(1, NODES))


def test_state_and_policies_of_another_federation_and_nonsense_are_refused() -> None:
    fleet = Fleet()
    fleet.cycle(0)
    other = AggregatorCore("elsewhere", CATALOGUE, 2, PlainServer)
    with pytest.raises(DataError, match="federation"):
        other.restore(fleet.saved)
    with pytest.raises(DataError, match="federation"):
        other.handle(PolicyStored(msgspec.structs.replace(fleet.registry[0], version=1)))
    with pytest.raises(DataError):
        core().restore(fleet.saved[:-1])
    assert other.snapshot().version == 0
