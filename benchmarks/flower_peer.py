"""Flower's SecAgg+ in process, by the Python of ``make peers``: prints the CPU seconds of its clients and its server.

Flower's own code does all the work: ``SecAggPlusWorkflow`` on the server, ``secaggplus_mod`` in each client. Ours are
the grid, which hands messages over as objects, and a strategy that asks everyone and keeps what comes out. So nothing
is serialised for the wire and no model is sent to the clients, which makes Flower cheaper here than where it is used.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterable
from copy import deepcopy
from importlib.metadata import version
from statistics import median

import numpy as np
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common.recorddict_compat import fitres_to_recorddict, parameters_to_arrayrecord
from flwr.server import LegacyContext
from flwr.server.client_manager import ClientManager, SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.secagg_vectors import CLIP, dropped, vector

ROUND = 1


class Client:
    """One node: Flower's modifier around training that returns the node's vector.

    Attributes:
        seconds: of CPU spent in the modifier, without the training.
    """

    def __init__(self, index: int, length: int, drops: bool) -> None:
        self._index, self._length, self._drops = index, length, drops
        self._context = Context(ROUND, index, {}, RecordDict(), {})
        self.seconds = 0.0
        self._trained = 0.0

    def answer(self, message: Message) -> Message:
        """The reply to a message of the server; an error from where this client drops out."""
        stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        if self._drops and stage == Stage.COLLECT_MASKED_VECTORS:
            return Message(Error(0, "dropped out"), reply_to=message)
        self._trained, begin = 0.0, time.process_time()
        reply = secaggplus_mod(message, self._context, self._train)
        self.seconds += time.process_time() - begin - self._trained
        return reply

    def _train(self, message: Message, _: Context) -> Message:
        begin = time.process_time()
        parameters = ndarrays_to_parameters([vector(self._index, self._length)])
        result = FitRes(Status(Code.OK, ""), parameters, num_examples=1, metrics={})
        reply = Message(fitres_to_recorddict(result, keep_input=False), reply_to=message)
        self._trained = time.process_time() - begin
        return reply


class InProcessGrid(Grid):  # type: ignore[misc]
    """Brings messages to clients in this process, and measures what they take.

    Attributes:
        seconds: of CPU until here that were not the server's.
    """

    def __init__(self, clients: dict[int, Client]) -> None:
        self._clients = clients
        self.seconds = 0.0

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """All replies, in the order of the messages; nobody has to be waited for."""
        begin = time.process_time()
        replies = [self._clients[message.metadata.dst_node_id].answer(_own(message)) for message in messages]
        self.seconds += time.process_time() - begin
        return replies

    def get_node_ids(self) -> list[int]:
        """All clients."""
        return list(self._clients)

    def set_run(self, run: object) -> None:
        """There is one run; the workflow asks for none of what follows."""

    @property
    def run(self) -> object:
        """Asked for by nobody."""
        raise NotImplementedError

    def create_message(self, *arguments: object, **named: object) -> Message:
        """Asked for by nobody."""
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Asked for by nobody."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Asked for by nobody."""
        raise NotImplementedError


class Everyone(FedAvg):  # type: ignore[misc]
    """Asks all clients, and keeps the mean that the workflow found; it is the same in all results."""

    def __init__(self, proxies: list[ClientProxy]) -> None:
        super().__init__()
        self._proxies = proxies
        self.mean = np.zeros(0)

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """No model goes out."""
        return [(proxy, FitIns(parameters, {})) for proxy in self._proxies]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[ClientProxy, FitRes]], failures: list[object]
    ) -> tuple[None, dict[str, int]]:
        """FedAvg would now average a hundred equal vectors; that is left out."""
        (self.mean,) = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}


def _own(message: Message) -> Message:
    """A message whose records are the receiver's own, as they are after a network: the modifier changes them."""
    content = RecordDict({RECORD_KEY_CONFIGS: deepcopy(message.content.config_records[RECORD_KEY_CONFIGS])})
    return Message(content=content, metadata=message.metadata)


def run(clients: int, length: int, dropout: float, shares: int, threshold: int, levels: int) -> dict[str, object]:
    """One round; ``levels`` is the quantization range: as many steps from -clip to clip."""
    lost = dropped(clients, dropout)
    nodes = {index + 1: Client(index, length, index in lost) for index in range(clients)}
    grid = InProcessGrid(nodes)
    strategy = Everyone([GridClientProxy(node, grid, ROUND) for node in nodes])
    context = LegacyContext(Context(ROUND, 0, {}, RecordDict(), {}), None, strategy, SimpleClientManager())
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: ROUND})
    empty = ndarrays_to_parameters([])
    context.state.array_records[MAIN_PARAMS_RECORD] = parameters_to_arrayrecord(empty, keep_input=False)
    workflow = SecAggPlusWorkflow(
        shares, threshold, max_weight=1.0, clipping_range=CLIP, quantization_range=levels, modulus_range=2**32
    )
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = ROUND, ROUND, 0
    begin = time.process_time()
    workflow(grid, context)
    server = time.process_time() - begin - grid.seconds
    if not strategy.mean.size:
        raise SystemExit("Flower's round was halted; its log says why")
    whole = [node.seconds for index, node in enumerate(nodes.values()) if index not in lost]
    mean = sum(vector(index, length).astype(np.float64) for index in set(range(clients)) - lost) / len(whole)
    return {
        "version": version("flwr"),
        "client_s": median(whole),
        "worst_client_s": max(whole),
        "server_s": server,
        "largest_error": float(np.abs(strategy.mean - mean).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flower_peer", description=__doc__)
    for name in ("clients", "length", "shares", "threshold", "levels"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", type=float, required=True)
    given = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    json.dump(run(given.clients, given.length, given.dropout, given.shares, given.threshold, given.levels), sys.stdout)


if __name__ == "__main__":
    main()
