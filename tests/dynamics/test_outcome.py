"""The reward and end heads: what they can say, how they are drawn, and that rare ends are found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models import tiny_dynamics
from worldmodel.dynamics.outcome import Outcome, OutcomeHead, RecordedOutcomes, symexp, symlog, two_hot

REWARDS = (-4.0, 0.0, 96.0)


def head(*, end_weight: float = 1.0) -> OutcomeHead:
    torch.manual_seed(0)
    config = tiny_dynamics(rewards=REWARDS, end_weight=end_weight, outcome_dim=16).config
    return OutcomeHead(config)


def recorded(rewards: Tensor, ends: Tensor) -> RecordedOutcomes:
    return RecordedOutcomes(rewards, ends, torch.ones_like(ends))


def train(model: OutcomeHead, features: Tensor, outcomes: RecordedOutcomes, *, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(features, outcomes).backward()
        optimizer.step()


def test_two_hot_is_one_hot_on_the_points_and_keeps_the_value_between_them() -> None:
    """A recorded value has one weight; any other has two, whose mean in symlog is the value; none leaves the range."""
    points = torch.tensor(REWARDS)
    assert torch.equal(two_hot(points, points), torch.eye(3))
    between = torch.tensor([-3.0, -0.5, 10.0, 95.0])
    torch.testing.assert_close(symexp(two_hot(between, points) @ symlog(points)), between, rtol=1e-4, atol=1e-4)
    assert torch.equal(two_hot(torch.tensor([-100.0, 1000.0]), points), torch.eye(3)[[0, 2]])
    assert torch.equal(two_hot(torch.tensor([7.0]), points[:1]), torch.ones(1, 1))


def test_drawn_rewards_are_recorded_values_at_their_probabilities() -> None:
    """No imagined reward is one that the game never gave, and each comes as often as the head says."""
    probabilities = torch.tensor([0.2, 0.7, 0.1])
    outcome = Outcome(torch.tensor(REWARDS), probabilities.log().expand(20_000, 3), torch.zeros(20_000, 3))
    drawn, ends = outcome.draw(torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)))
    shares = torch.stack([(drawn == reward).float().mean() for reward in REWARDS])
    torch.testing.assert_close(shares, probabilities, atol=0.015, rtol=0)
    assert abs(ends.float().mean() - 0.5) < 0.02
    torch.testing.assert_close(outcome.reward[0], probabilities @ torch.tensor(REWARDS))
    assert float(outcome.end_probability[0]) == pytest.approx(0.5)


def test_the_threshold_decides_without_chance() -> None:
    """With a threshold, the episode ends exactly where the end given the drawn reward is likelier than that."""
    logits = torch.tensor([[-3.0, -3.0, 3.0]]).expand(1000, 3)
    outcome = Outcome(torch.tensor(REWARDS), torch.tensor([0.5, 0.0, 0.5]).log().expand(1000, 3), logits)
    rewards, ends = outcome.draw(torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)), threshold=0.5)
    assert torch.equal(ends, rewards == 96.0)


def test_a_reward_that_ends_the_episode_is_not_collected_twice() -> None:
    """Trap "imagined returns above the possible maximum": reward and end are drawn as one, so an imagined episode in
    which a hit always ends the game never gets the hit's reward twice, even where a hit is uncertain."""
    model = head()
    rewards = torch.tensor([0.0, 96.0]).repeat(16)[:, None]
    features = torch.zeros(32, 1, 4, 32)  # nothing tells whether this step is a hit
    train(model, features, recorded(rewards, rewards == 96), steps=150)
    with torch.no_grad():
        outcome = model(features[:1, 0])
    assert 0.4 < float(outcome.end_probability) < 0.6
    generator, twice = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        total, ended = 0.0, False
        while not ended:
            reward, end = outcome.draw(torch.rand(1, 2, generator=generator))
            total, ended = total + float(reward), bool(end)
        twice += total > 96
    assert twice <= 4  # drawn apart, it were every other episode


def test_rare_ends_are_found_when_they_are_weighted() -> None:
    """Trap "ends so rare that recall is 2% until they are weighted": after the same training the weighted head finds
    them at its operating threshold, the unweighted one does not; and what it says is calibrated all the same."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(1500, 1, generator=generator) < 0.02
    features = torch.randn(1500, 1, 4, 32, generator=generator)
    features[..., 0] += 1.5 * ends[..., None]  # seen, but not surely
    recall, rate = {}, {}
    for weight in (1.0, 49.0):
        model = head(end_weight=weight)
        train(model, features, recorded(torch.zeros(1500, 1), ends), steps=40)
        with torch.no_grad():
            outcome = model(features)
        operating = outcome.end_logits[..., 1] + torch.tensor(weight).log()  # the weighted probability, against 1/2
        recall[weight] = float((operating > 0)[ends].float().mean())
        rate[weight] = float(outcome.end_probability.mean())
    assert recall[1.0] < 0.35
    assert recall[49.0] > 0.7
    assert rate[49.0] < 0.1  # drawn, episodes end about as often as recorded ones: 0.02


def test_the_loss_is_that_of_independent_arithmetic() -> None:
    """Nats of the reward, and of the end weighted by class, both from the log-probabilities by hand."""
    model = head(end_weight=3.0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    features = torch.randn(2, 3, 4, 32, generator=torch.Generator().manual_seed(2))
    rewards = torch.tensor([[0.0, 96.0, -4.0], [0.0, 0.0, 96.0]])
    ends = torch.tensor([[False, True, False], [False, False, True]])
    with torch.no_grad():
        outcome = model(features)
    raw = outcome.end_logits + torch.tensor(3.0).log()
    expected = 0.0
    for i in range(2):
        for j in range(3):
            value = REWARDS.index(float(rewards[i, j]))
            expected -= float(outcome.log_probabilities[i, j, value]) / 6
            p = float(raw[i, j, value].sigmoid())
            weight = 2.0 if ends[i, j] else 2.0 / 3
            expected -= weight * float(torch.tensor(p if ends[i, j] else 1 - p).log()) / 6
    assert float(model.loss(features, recorded(rewards, ends))) == pytest.approx(expected, rel=1e-4)


def test_a_step_without_a_frame_teaches_the_heads_and_no_code() -> None:
    """Where the game shows no next frame, no stand-in for it counts in the code loss; reward and end do."""
    dynamics = tiny_dynamics(rewards=REWARDS)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (1, 4, 8, 8), generator=generator)
    actions = torch.randint(4, (1, 3), generator=generator)
    shown = torch.tensor([[True, True, False]])
    ends = torch.tensor([[False, False, True]])
    losses = []
    for other in (codes[:, 3:], (codes[:, 3:] + 1) % 16):
        changed = torch.cat([codes[:, :3], other], dim=1)
        outcomes = RecordedOutcomes(torch.tensor([[0.0, 0.0, 96.0]]), ends, shown)
        losses.append(dynamics.loss(changed, actions, generator=generator, outcomes=outcomes))
    assert float(losses[0].total) == float(losses[1].total)
    assert float(losses[0].outcome) > 0
    short = dynamics.loss(codes[:, :3], actions[:, :2], generator=generator)
    torch.testing.assert_close(losses[0].nll, short.nll, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_heads_learn_alone_which_action_brings_a_reward() -> None:
    """On a dynamics that stays as it is, the heads learn that the action of a step brings its reward, not the one
    before; no other weight moves and no code loss is computed."""
    dynamics = tiny_dynamics(rewards=(0.0, 1.0), outcome_dim=32, action_dropout=0.0, max_context_noise=0.0).train()
    for name, parameter in dynamics.named_parameters():
        parameter.requires_grad_(name.startswith("outcome."))
    before = {name: tensor.clone() for name, tensor in dynamics.state_dict().items() if "outcome" not in name}
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW([part for part in dynamics.parameters() if part.requires_grad], lr=1e-2)

    def batch(clips: int) -> tuple[Tensor, Tensor, RecordedOutcomes]:
        codes = torch.randint(16, (clips, 4, 8, 8), generator=generator)
        actions = torch.randint(4, (clips, 3), generator=generator)
        return codes, actions, recorded((actions == 1).float(), torch.zeros(clips, 3, dtype=torch.bool))

    for _ in range(100):
        codes, actions, outcomes = batch(8)
        losses = dynamics.loss(codes, actions, generator=generator, outcomes=outcomes)
        assert float(losses.nll) == 0
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    after = dynamics.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    codes, actions, outcomes = batch(40)
    with torch.no_grad():
        dynamics.eval()
        found = dynamics.outcome(dynamics.features(codes[:, :-1], actions).context).reward
    assert ((found > 0.5) == (actions == 1)).float().mean() > 0.9
