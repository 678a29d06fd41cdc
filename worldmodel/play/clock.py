"""When the next frame is due: the game's rate on average, and a changed key at once."""

from __future__ import annotations


class Clock:
    """Frames at least `period` seconds apart on average.

    A key that has changed need not wait for the frame that is due: it takes it up to one period early, once, and the
    frame after it comes when it would have come anyway. So keys are shown at once and time runs as in the game.
    """

    def __init__(self, period: float, now: float) -> None:
        self.period = period
        self._due = now

    def wait(self, now: float, *, key_changed: bool) -> float:
        """Return the seconds until the next frame may begin, 0 if that is now."""
        due = self._due - self.period if key_changed else self._due
        return max(0.0, due - now)

    def tick(self, now: float) -> None:
        """A frame begins. Time that was lost is not made up by a burst, beyond a period."""
        late = now - self._due
        self._due = (now if late > self.period else self._due) + self.period
