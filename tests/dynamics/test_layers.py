"""The parts of the transformers."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from worldmodel.dynamics.layers import BIAS_SCALE, ActionAttentionBias, attend, rotary_table, rotate


def test_the_action_bias_depends_on_distance_and_action() -> None:
    """The bias of patch p for patch q is the scaled table's entry for the action and for q - p in rows and columns."""
    table = ActionAttentionBias(heads=2, actions=3, grid=4)
    torch.nn.init.normal_(table.table)
    actions = torch.tensor([1, 2, -1])
    bias = table(actions)
    assert bias.shape == (3, 2, 16, 16)
    for p in range(16):
        for q in range(16):
            down, right = q // 4 - p // 4, q % 4 - p % 4
            assert torch.equal(bias[:, :, p, q], BIAS_SCALE * table.table[actions, :, down + 3, right + 3])


def test_attend_is_softmax_attention() -> None:
    """The written-out attention equals torch's, bias included, for many queries and for a single one."""
    k, v = torch.randn(2, 2, 4, 7, 8)
    for queries in (7, 1):
        q, bias = torch.randn(2, 4, queries, 8), torch.randn(2, 4, queries, 7)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        torch.testing.assert_close(attend(q, k, v, bias), expected)


def test_rotation_keeps_lengths_and_sees_distances_only() -> None:
    """The product of a rotated query and key is the same wherever the pair stands, and rotation changes no length."""
    table = rotary_table(5, 16)
    q, k = torch.randn(2, 16)
    rotated_q = rotate(q.expand(25, 16), table)
    rotated_k = rotate(k.expand(25, 16), table)
    torch.testing.assert_close(rotated_q.norm(dim=-1), q.norm().expand(25))
    scores = (rotated_q @ rotated_k.T).view(5, 5, 5, 5)
    torch.testing.assert_close(scores[0, 0, 2, 1], scores[2, 3, 4, 4])
    torch.testing.assert_close(scores[3, 1, 1, 0], scores[4, 4, 2, 3])
    assert not torch.isclose(scores[0, 0, 2, 1], scores[0, 0, 1, 2])
