"""The belief: what it remembers, what it does not see, and what it paints."""

from __future__ import annotations

import pytest
import torch

from tests.models import tiny_dynamics
from worldmodel.dynamics.belief import Belief

GENERATOR = torch.Generator().manual_seed(0)


def tiny_belief(**changes: object) -> Belief:
    return tiny_dynamics(**changes).belief


@pytest.mark.parametrize("code_grid", [4, 6, 8, 12, 16])
def test_any_grid_is_painted_pixel_by_pixel(code_grid: int) -> None:
    """The painting is as large as what the codes look like, also where the grid cannot be halved."""
    belief = tiny_belief(code_grid=code_grid, belief_dim=16)
    vectors = torch.randn(2, 3, code_grid, code_grid, 8, generator=GENERATOR)
    beliefs = belief(vectors, torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool))
    assert beliefs.shape == (2, 3, 16)
    assert belief.paint(beliefs.flatten(0, 1)).shape == (6, 3, 4 * code_grid, 4 * code_grid)


def test_the_belief_goes_on_where_it_was() -> None:
    """Step by step, with the last belief handed on, it believes what it believes of the whole."""
    belief = tiny_belief()
    vectors = torch.randn(2, 5, 8, 8, 8, generator=GENERATOR)
    actions = torch.randint(-1, 4, (2, 5), generator=GENERATOR)
    sighted = torch.ones(2, 5, dtype=torch.bool)
    whole = belief(vectors, actions, sighted)
    state, steps = None, []
    for t in range(5):
        state = belief(vectors[:, t : t + 1], actions[:, t : t + 1], sighted[:, t : t + 1], state)[:, -1]
        steps.append(state)
    torch.testing.assert_close(torch.stack(steps, dim=1), whole)


def test_what_is_not_looked_at_has_no_effect() -> None:
    """A frame without sight may be any frame; its action counts, and so does a frame that is seen, for ever after."""
    belief = tiny_belief()
    vectors = torch.randn(1, 4, 8, 8, 8, generator=GENERATOR)
    actions = torch.zeros(1, 4, dtype=torch.int64)
    sighted = torch.tensor([[True, True, False, True]])
    usual = belief(vectors, actions, sighted)
    for place, matters in ((1, True), (2, False)):
        other = vectors.clone()
        other[:, place] += 1.0
        changed = belief(other, actions, sighted)
        assert torch.equal(changed[:, :place], usual[:, :place])
        assert torch.equal(changed[:, place:], usual[:, place:]) is not matters
        assert torch.equal(changed[:, 3], usual[:, 3]) is not matters
    told = actions.clone()
    told[:, 2] = 1
    assert not torch.equal(belief(vectors, told, sighted)[:, 2:], usual[:, 2:])


def test_what_is_expected_reaches_the_logits() -> None:
    """A belief that paints something else: other features, and other logits of the next frame."""
    dynamics = tiny_dynamics()
    codes = torch.randint(16, (1, 2, 8, 8), generator=GENERATOR)
    actions = torch.zeros(1, 1, dtype=torch.int64)
    answers = []
    for _ in range(2):
        features = dynamics.features(codes[:, :1], actions)
        answers.append((features, dynamics.logits(features, codes[:, 1:])))
        torch.nn.init.normal_(dynamics.belief.expect.weight, generator=GENERATOR)
    for first, second in zip(*answers, strict=True):
        assert (first - second).abs().max() > 1e-4
