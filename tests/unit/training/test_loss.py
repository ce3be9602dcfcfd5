"""The loss equals the naive one, in chunks too, and costs only the positions that have a target."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from whisper_peft.data.targets.labels import IGNORED
from whisper_peft.training.loss import FROZEN_CHUNK, PROJECTION_CHUNK, masked_with_mean, target_loss


class CountingProjection(nn.Linear):
    """A vocabulary projection that remembers how many positions it was asked for."""

    positions = 0

    def forward(self, states):
        self.positions += len(states)
        return super().forward(states)


@pytest.fixture
def projection():
    torch.manual_seed(0)
    return CountingProjection(8, 50, bias=False)


def sample(tokens):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(tokens, 8, generator=generator, requires_grad=True)
    labels = torch.randint(0, 50, (tokens,), generator=generator)
    labels[torch.rand(tokens, generator=generator) < 0.4] = IGNORED
    return hidden, labels


@pytest.mark.parametrize("tokens", [18, 3200])
def test_the_loss_equals_the_naive_one_with_its_gradient(projection, tokens):
    hidden, labels = sample(tokens)
    assert (tokens > 2 * PROJECTION_CHUNK) == (tokens == 3200)
    naive = cross_entropy(projection(hidden), labels, ignore_index=IGNORED, reduction="sum")
    (expected,) = torch.autograd.grad(naive, hidden)
    ours = target_loss(hidden, labels, projection)
    (gradient,) = torch.autograd.grad(ours, hidden)
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [18, 3 * FROZEN_CHUNK + 5])
def test_a_frozen_projection_gives_the_naive_loss_and_gradient(tokens, dtype):
    torch.manual_seed(0)
    frozen = nn.Linear(8, 50, bias=False).to(dtype).requires_grad_(False)
    hidden, labels = sample(tokens)
    logits = frozen(hidden.to(dtype)).float()
    naive = cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / 7
    (expected,) = torch.autograd.grad(naive, hidden)
    ours = target_loss(hidden.to(dtype), labels, frozen) / 7
    (gradient,) = torch.autograd.grad(ours, hidden)
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(gradient, expected, rtol=1e-5 if dtype is torch.float32 else 2e-2, atol=1e-3)


def test_only_positions_with_a_target_are_projected(projection):
    hidden, labels = sample(18)
    target_loss(hidden, labels, projection)
    assert projection.positions == int((labels != IGNORED).sum()) < labels.numel()


def test_a_batch_without_targets_has_a_zero_loss_that_still_has_a_gradient(projection):
    hidden, labels = sample(18)
    loss = target_loss(hidden, torch.full_like(labels, IGNORED), projection)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))


def test_masked_cells_take_the_mean_of_their_own_clips_speech():
    features = torch.arange(6.0).reshape(2, 3)
    keep = torch.ones(2, 3, dtype=torch.bool)
    keep[0, 1] = False
    assert masked_with_mean(features, keep, 3)[0, 1] == 2.5
    masked = masked_with_mean(features, keep, 2)
    assert masked[0, 1] == 2.0
    assert torch.equal(masked[keep], features[keep])
