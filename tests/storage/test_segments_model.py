"""The store against a plain set, under any order of appends, restarts and compactions."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from storage.schemas import BatchKey
from storage.segments import Ack, Refusal, SegmentStore
from storage.wire import Reason
from tests.storage.samples import batch_bytes, key

KEYS = st.builds(key, st.integers(0, 5), node=st.sampled_from(["a", "b"]), incarnation=st.integers(0, 1))
BATCHES = st.tuples(KEYS, st.sampled_from([1, 3]))
"""A key, and a number of rows that tells the contents apart."""


class StoreModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="quasim-store-"))
        self.store = SegmentStore(self.folder)
        self.model: dict[BatchKey, int] = {}

    @rule(group=st.lists(BATCHES | st.none(), max_size=6))
    def append(self, group: list[tuple[BatchKey, int] | None]) -> None:
        data = [batch_bytes(entry[0], rows=entry[1]) if entry else b"rubbish" for entry in group]
        for entry, answer in zip(group, self.store.append(data), strict=True):
            if entry is None:
                assert isinstance(answer, Refusal)
                assert answer.reason is Reason.NOT_ARROW
                continue
            known = self.model.get(entry[0])
            if known in (None, entry[1]):
                assert answer == Ack(entry[0], entry[1], duplicate=known is not None)
                self.model[entry[0]] = entry[1]
            else:
                assert isinstance(answer, Refusal)
                assert answer.reason is Reason.CONFLICT

    @precondition(lambda self: self.model)
    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = SegmentStore(self.folder)

    @invariant()
    def holds_exactly_the_model(self) -> None:
        table = self.store.dataset().to_table(columns=["node_id", "incarnation", "sequence"])
        rows = zip(*(table[name].to_pylist() for name in table.schema.names), strict=True)
        assert Counter(BatchKey(node.hex(), *rest) for node, *rest in rows) == Counter(self.model)
        assert self.store.snapshot().batches == len(self.model)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
