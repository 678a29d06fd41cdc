"""Likelihood of codes: against the model's own loss, brute force, and the simulator's own draws."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.worlds import tiny_simulator
from worldmodel.dynamics.features import Features
from worldmodel.evaluation.metrics.scoring import draw, frame_nats, past_features, recording

CODES = torch.randint(16, (2, 6, 8, 8), generator=torch.Generator().manual_seed(0))
ACTIONS = np.random.default_rng(0).integers(0, 4, (2, 5))


def test_nats_are_the_models_loss() -> None:
    """The mean over frames is the loss that the dynamics is trained on."""
    simulator = tiny_simulator()
    nats = frame_nats(simulator, past_features(simulator, CODES[:, :-1], ACTIONS), CODES[:, 1:])
    assert nats.shape == (2, 5)
    losses = simulator.dynamics.loss(CODES, torch.from_numpy(ACTIONS), generator=torch.Generator())
    np.testing.assert_allclose(nats.mean(), losses.nll.item(), rtol=1e-5)


def test_each_frame_has_its_own_nats() -> None:
    """Frame by frame they are -log p of the frame's codes under the logits of its past, averaged over its codes."""
    simulator = tiny_simulator()
    features = past_features(simulator, CODES[:, :-1], ACTIONS).map(torch.clone)
    logits = simulator.dynamics.logits(features, CODES[:, 1:]).log_softmax(-1)
    expected = -logits.gather(-1, CODES[:, 1:, ..., None]).squeeze(-1).mean((2, 3)).detach()
    np.testing.assert_allclose(frame_nats(simulator, features, CODES[:, 1:]), expected.numpy(), rtol=1e-5)


def test_a_draw_of_a_certain_model_is_certain() -> None:
    """Where one code has all the mass, it is drawn and costs nothing; where all are alike, a draw costs log k."""
    simulator = tiny_simulator()
    head = simulator.dynamics.decoder.head
    with torch.no_grad():
        head.table.zero_()
        head.bias.zero_()
        simulator.dynamics.code_appearance.zero_()  # nor does one code look nearer to what is expected
    features = past_features(simulator, CODES[:, :-1], ACTIONS)
    simulator = type(simulator)(simulator.tokenizer, simulator.dynamics, precision="float32")
    alike = draw(simulator, features, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(frame_nats(simulator, features, alike), math.log(16), rtol=1e-5)
    assert len(alike.unique()) == 16
    with torch.no_grad():
        head.bias[3] = 50
    simulator = type(simulator)(simulator.tokenizer, simulator.dynamics, precision="float32")
    certain = draw(simulator, features, torch.Generator().manual_seed(0))
    assert (certain == 3).all()
    np.testing.assert_allclose(frame_nats(simulator, features, certain), 0, atol=1e-6)


def test_what_is_heard_is_what_was_drawn_and_from_what() -> None:
    """Codes and features as reported equal one uncached pass over what was imagined, and listening changes nothing."""
    simulator = tiny_simulator()
    reported: list[tuple[Features, torch.Tensor]] = []
    listened = recording(simulator, lambda features, codes: reported.append((features, codes)))
    future = np.random.default_rng(1).integers(0, 4, (2, 12))
    for one in (simulator, listened):
        one.seed(5)
        one.reset_codes(CODES, torch.from_numpy(ACTIONS))
    drawn = torch.stack([listened.step(future[:, i]) for i in range(12)], dim=1)
    usual = torch.stack([simulator.step(future[:, i]) for i in range(12)], dim=1)
    assert torch.equal(drawn, usual)
    assert torch.equal(drawn, torch.stack([codes for _, codes in reported], dim=1))
    everything = torch.cat([CODES, drawn], dim=1)
    actions = np.concatenate([ACTIONS, future], axis=1)
    with torch.inference_mode():
        full = simulator.features(everything[:, :-1], torch.from_numpy(actions), num_real=6)[:, 5:]
    features = Features.stack([features for features, _ in reported])
    torch.testing.assert_close(features.context, full.context, rtol=1e-3, atol=1e-4)
    expected = frame_nats(simulator, full, drawn)
    np.testing.assert_allclose(frame_nats(simulator, features, drawn), expected, rtol=1e-3)
