"""Games in slices and in threads are the games alone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.cache import ContextCache
from worldmodel.dynamics.features import Features
from worldmodel.dynamics.threads import ROWS_AT_ONCE, in_threads, observe

BATCH, FRAMES = 2 * ROWS_AT_ONCE + 1, 5  # longer than the window of 3
CODES = torch.randint(16, (BATCH, FRAMES, 8, 8), generator=torch.Generator().manual_seed(5))
ACTIONS = torch.randint(-1, 4, (BATCH, FRAMES), generator=torch.Generator().manual_seed(6))


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.inference_mode()
def test_a_game_does_not_depend_on_those_beside_it(threads: int, precision: str) -> None:
    """Frame after frame past the window, features of many games are those of each alone: in bfloat16 to the bit.

    Single precision is a library's product, which rounds by the number of rows; so a code may differ at a tie. So are
    bfloat16 products of four columns, which no model of use has: hence the wider flow features.
    """
    tolerance = {"float32": 1e-5, "bfloat16": 0.0}[precision]
    frozen = tiny_dynamics(context_layers=2, flow_hidden_dim=64, flow_dim=16).frozen(precision=precision)

    def features(rows: slice) -> list[Features]:
        cache = frozen.new_cache()
        return [
            observe(frozen, CODES[rows, t], ACTIONS[rows, t], cache, precision=precision)  # a first frame, too
            for t in range(FRAMES)
        ]

    together = features(slice(None))
    for row in range(BATCH):
        for ours, its in zip(together, features(slice(row, row + 1)), strict=True):
            torch.testing.assert_close(ours.context[row], its.context[0], rtol=tolerance, atol=tolerance)
            torch.testing.assert_close(ours.flow[row], its.flow[0], rtol=tolerance, atol=tolerance)


@torch.inference_mode()
def test_parts_of_a_cache_are_the_cache() -> None:
    """What parts take in is in the whole one's memory, and rows that began anew keep their own beginning."""
    frozen = tiny_dynamics().frozen(precision="float32")
    whole, joined, other = frozen.new_cache(), frozen.new_cache(), frozen.new_cache()
    frozen.observe(CODES[:2, 0], ACTIONS[:2, 0], other)
    for t in range(FRAMES):
        if t == 3:
            for cache in (whole, joined):
                cache.put(torch.tensor([0, 7]), other, batch=BATCH)
        frozen.observe(CODES[:, t], ACTIONS[:, t], whole)
        observe(frozen, CODES[:, t], ACTIONS[:, t], joined, precision="float32")
    assert joined.count == whole.count
    assert torch.equal(joined.last, whole.last)
    assert torch.equal(joined.actions, whole.actions)
    for ours, its in zip(joined._entries, whole._entries, strict=True):
        assert torch.allclose(ours[0], its[0], atol=1e-5)
        assert torch.allclose(ours[1], its[1], atol=1e-5)
    part = joined.part(slice(2, 4))
    part._entries[0][0].fill_(7)
    assert isinstance(part, ContextCache)
    assert (joined._entries[0][0].unflatten(0, (BATCH, -1)) == 7).flatten(1).all(1).tolist() == [
        row in (2, 3) for row in range(BATCH)
    ]


def test_threads_start_no_threads_of_their_own(threads: int) -> None:
    """Every slice comes back in order, torch in a thread is alone, and afterwards its number is what it was."""
    seen: list[tuple[int, int]] = []

    def work(rows: slice) -> list[int]:
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return list(range(rows.start, rows.stop))

    for at_most in (None, 1, 4):
        seen.clear()
        assert [*itertools.chain(*in_threads(work, 13, at_most=at_most))] == list(range(13))
        assert len(seen) >= (threads if at_most is None else 13 / at_most)
        assert {number for _, number in seen} == {1}
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [threads]
    assert torch.get_num_threads() == threads
