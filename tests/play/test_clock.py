"""When the next frame is due: the game's rate on the whole, a changed key at once."""

from __future__ import annotations

import pytest

from worldmodel.play.clock import Clock


def run(clock: Clock, *, until: float, key_changed: bool) -> list[float]:
    """When frames begin, if whoever waits does nothing else."""
    now, times = 0.0, []
    while now < until:
        wait = clock.wait(now, key_changed=key_changed)
        if wait:
            now += wait
        else:
            clock.tick(now)
            times.append(now)
            now += 1e-3  # a frame takes some time
    return times


@pytest.mark.parametrize("key_changed", [False, True])
def test_the_rate_is_the_games(key_changed: bool) -> None:
    """Frames come at the game's rate, also for somebody who changes a key before every one."""
    assert len(run(Clock(0.1, 0.0), until=10.0, key_changed=key_changed)) == pytest.approx(100, abs=2)


def test_a_changed_key_does_not_wait() -> None:
    """A key that changes between two frames begins the next one at once, and the one after that keeps its time."""
    clock = Clock(0.1, 0.0)
    clock.tick(0.0)
    assert clock.wait(0.03, key_changed=False) == pytest.approx(0.07)
    assert clock.wait(0.03, key_changed=True) == 0
    clock.tick(0.03)
    assert clock.wait(0.05, key_changed=False) == pytest.approx(0.15)
    assert clock.wait(0.05, key_changed=True) == pytest.approx(0.05)


def test_lost_time_is_not_made_up() -> None:
    """After a long stop the game goes on at its rate, without a burst."""
    clock = Clock(0.1, 0.0)
    clock.tick(0.0)
    clock.tick(5.0)
    assert clock.wait(5.01, key_changed=False) == pytest.approx(0.09)


def test_no_period_is_no_clock() -> None:
    """As fast as possible means no waiting at all."""
    clock = Clock(0.0, 0.0)
    for now in (0.0, 0.0, 0.1):
        assert clock.wait(now, key_changed=False) == 0
        clock.tick(now)
