"""The node agents of a run: starts them on the machines that there are, and notices who is lost, has come, or must go.

    seat without a machine ──machine comes──► working ──machine is gone──► lost or left ──machine comes back──► working
                                                 └──drain, between two cycles──► drained ──undrain──► working

A thread looks four times a second, so that what happens while all wait for a cycle shows at once. Seats are kept in the
folder of the run: an agent whose machine comes back finds its state and its spool there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import ray
from ray.actor import ActorHandle

from actors import drain
from actors.board import Mark
from actors.live import Health, Kind, NodePulse
from actors.live_file import EventLog
from actors.node_spec import NodeSnapshot
from actors.pulse import pulse_of
from actors.ray_aggregator import RayAggregator
from actors.remote import Place, RayNode
from cluster.calls import get
from cluster.config import FleetConfig
from cluster.machines import Machines, machines
from cluster.placement import Machine, first_seats, newcomers, place
from cluster.run_folder import RunFolder
from cluster.seats import Seat, read_seats, write_seats
from quasim.errors import QuasimError

LOG = logging.getLogger(__name__)

LOOK_S = 0.25

TOLD_S = 0.5
"""The longest that an end waits until the aggregator has heard, and so shows, how all ended."""

Node = ActorHandle[RayNode]

Start = Callable[[Seat, Place], Node]


class Crew:
    """Who works for a run, and where.

    Args:
        start: starts the agent of a seat, or finds the one that an earlier driver left.
        events: told who comes and goes.
        cycle: from which the run goes on.

    Raises:
        ConfigError: a new run finds no machine as asked for, or too few GPUs.
    """

    def __init__(self, config: FleetConfig, folder: RunFolder, start: Start, events: EventLog, cycle: int) -> None:
        self._config, self._folder, self._start, self._events = config, folder, start, events
        self._cycle = cycle
        self._lock = threading.RLock()
        # Looking takes as long as silent machines need to be probed; whoever asks who works does not wait for it.
        self._looking = threading.Lock()
        self._working: dict[str, tuple[Node, Place]] = {}
        self._away: dict[str, Literal["lost", "left"]] = {}
        self._draining: set[str] = set()
        self._unnamed: set[str] = set()
        self._aggregator: ActorHandle[RayAggregator] | None = None
        self._marks: dict[str, Mark] = {}
        self._heard: ray.ObjectRef[None] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crew", daemon=True)
        found = machines()
        self.driver = found.alive[0]
        staying = [machine for machine in found.alive if machine.name not in found.draining]
        self._seats = read_seats(folder) or first_seats(config, staying)
        write_seats(self._folder, self._seats)
        for seat in self._seats:
            if seat.left is not None:
                self._tell("left", seat.node)
        # Whoever was told to leave while there was no driver is found first, so that it can leave in good order. Who
        # has left stays away.
        wished = drain.requested(folder.drained)
        away = frozenset(seat.node for seat in self._seats if seat.left and seat.meant_by(wished))
        self._take_in(found, found.draining | away)

    def _keep(self, at: int, seat: Seat) -> None:
        self._seats[at] = seat
        write_seats(self._folder, self._seats)

    def watch(self, aggregator: ActorHandle[RayAggregator]) -> None:
        """Look again and again from now on, and tell the aggregator what there is to see."""
        self._aggregator = aggregator
        with self._lock:
            for name, (_, where) in self._working.items():
                self._greet(name, where)
        self._thread.start()

    def begin(self, cycle: int, busy: frozenset[str]) -> None:
        """A cycle begins: who is to leave and is not busy leaves, and late agents join."""
        with self._lock:
            self._cycle = cycle
        found = self.look_now()
        for seat in self._leaving(busy, self._wished(found)):
            self._let_go(seat)

    def _wished(self, found: Machines) -> frozenset[str]:
        """Names of agents and machines that are to leave."""
        return drain.requested(self._folder.drained) | found.draining

    @property
    def nodes(self) -> dict[str, Node]:
        """The agents that work, by name."""
        with self._lock:
            return {name: node for name, (node, _) in sorted(self._working.items())}

    @property
    def gone(self) -> frozenset[str]:
        """Names of those that have worked and do not any more."""
        with self._lock:
            return frozenset(self._away) | {seat.node for seat in self._seats if seat.left}

    @property
    def left(self) -> tuple[NodeSnapshot, ...]:
        """Where those stood that were told to leave."""
        with self._lock:
            return tuple(seat.left for seat in self._seats if seat.left is not None)

    @property
    def joined(self) -> frozenset[str]:
        """Names of all that have come so far, whatever became of them."""
        with self._lock:
            return frozenset(seat.node for seat in self._seats if seat.first_cycle <= self._cycle)

    def holds(self, name: str, node: Node) -> bool:
        """Whether this agent still is the one of that name."""
        with self._lock:
            return name in self._working and self._working[name][0] is node

    def look_now(self) -> Machines:
        """Do not wait for the next look of the thread."""
        with self._looking:  # before asking: what one thread saw must not be taken in after what another saw later
            found = machines(self._in_use)
            self.look(found)
        return found

    @property
    def _in_use(self) -> frozenset[str]:
        """Ray's ids of the machines that agents work on."""
        with self._lock:
            return frozenset(where.machine for _, where in self._working.values())

    def look(self, found: Machines) -> None:
        """Take in how the cluster is: let go of who is gone, start who can be."""
        self._take_in(found, self._wished(found))

    def _take_in(self, found: Machines, wished: frozenset[str]) -> None:
        with self._lock:
            self._drop_lost({machine.node_id for machine in found.alive}, found.willing)
            self._say_unnamed(found.unnamed)
            # Whoever is about to end gets no seat: nobody would ever sit there, and the end would miss its rows.
            staying = [machine for machine in found.alive if machine.name not in wished]
            new = newcomers(self._config, staying, self._seats, self._cycle)
            if new:
                self._seats += new
                write_seats(self._folder, self._seats)
            for at in range(len(self._seats)):
                self._fill(at, found.alive, wished)

    def close(self) -> None:
        """End the agents and with them their workers."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        nodes = self.nodes
        for node in nodes.values():
            ray.kill(node)
        if nodes and (told := self._tell("left", *nodes)) is not None:
            ray.wait([told], timeout=TOLD_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look_now()
                self._remind()
            except Exception:  # whatever befalls one look, the next may see
                LOG.exception("the machines of the cluster could not be looked at")

    def _drop_lost(self, alive: set[str], willing: frozenset[str]) -> None:
        for name, (node, where) in list(self._working.items()):
            if where.machine not in alive:
                del self._working[name]
                self._draining.discard(name)
                ray.kill(node)  # or Ray would hold its calls back until it has noticed, too
                how: Literal["lost", "left"] = "left" if where.machine in willing else "lost"
                self._away[name] = how
                self._tell(how, name)
                kind: Kind = "node-left" if how == "left" else "node-lost"
                self._events.note(kind, f"{name}: machine {where.name} is gone", node=name, cycle=self._cycle)

    def _say_unnamed(self, unnamed: Sequence[Machine]) -> None:
        for machine in unnamed:
            if machine.node_id not in self._unnamed:
                self._unnamed.add(machine.node_id)
                # Perhaps the same machine after a restart, of whose end Ray does not know yet.
                text = f"{machine.name}: another machine has this name; the one at {machine.address} gets no agent"
                self._events.note("name-taken", f"{text} until that one is gone", cycle=self._cycle)

    def _fill(self, at: int, alive: Sequence[Machine], wished: frozenset[str]) -> None:
        seat = self._seats[at]
        if seat.node in self._working:
            self._show_draining(seat, seat.meant_by(wished))
            return
        where = place(self._config, seat, alive)
        if where is None or seat.first_cycle > self._cycle or seat.meant_by(wished):
            return
        started = msgspec.structs.replace(seat, left=None, starts=seat.starts + 1)
        self._keep(at, started)
        self._working[seat.node] = (self._start(started, where), where)
        back = self._away.pop(seat.node, None) or seat.left
        self._tell("ok", seat.node)
        self._greet(seat.node, where)
        text = f"{seat.node} {'is back' if back else 'joins'} on {where.name} at cycle {self._cycle}"
        self._events.note("node-joined", text, node=seat.node, cycle=self._cycle)

    def _show_draining(self, seat: Seat, wished: bool) -> None:
        if wished != (seat.node in self._draining):
            (self._draining.add if wished else self._draining.discard)(seat.node)
            self._tell("draining" if wished else "ok", seat.node)

    def _leaving(self, busy: frozenset[str], wished: frozenset[str]) -> list[Seat]:
        with self._lock:
            return [s for s in self._seats if s.node in self._working and s.node not in busy and s.meant_by(wished)]

    def _let_go(self, seat: Seat) -> None:
        """An agent says where it stands and ends. One that cannot stays, and is asked again before the next cycle."""
        node = self.nodes.get(seat.node)
        if node is None:
            return
        try:
            stands: NodeSnapshot = get(node.leave.remote(), seat.node)
        except QuasimError as error:
            LOG.warning("%s does not leave: %s", seat.node, error)
            return
        with self._lock:
            if not self.holds(seat.node, node):  # its machine went meanwhile, and may be back with another agent
                return
            ray.kill(node)  # before the seat is free: who comes back at this moment must not be found under its name
            del self._working[seat.node]
            self._draining.discard(seat.node)
            at = next(at for at, kept in enumerate(self._seats) if kept.node == seat.node)
            self._keep(at, msgspec.structs.replace(self._seats[at], left=stands))
            self._tell("left", seat.node)
        text = f"{seat.node} has left {seat.machine}; {stands.waiting_rows} rows wait in its spool"
        self._events.note("node-drained", text, node=seat.node, cycle=self._cycle)

    def _tell(self, health: Health, *names: str) -> ray.ObjectRef[None] | None:
        with self._lock:
            self._marks |= dict.fromkeys(names, Mark(health, time.monotonic_ns()))
            return self._say_marks()

    def _remind(self) -> None:
        """Say again what was said of the agents: an aggregator that was restarted has forgotten it."""
        with self._lock:
            if self._heard is None or ray.wait([self._heard], timeout=0)[0]:
                self._say_marks()

    def _say_marks(self) -> ray.ObjectRef[None] | None:
        if self._aggregator is not None:
            self._heard = self._aggregator.mark.remote(dict(self._marks))
        return self._heard

    def _greet(self, name: str, where: Place) -> None:
        """Say at once that an agent starts: it takes a second or two until it can itself."""
        if self._aggregator is not None:
            first: NodePulse = pulse_of(name, where.name, "starting", None, time.time())
            self._aggregator.pulse.remote(first)
