"""Orthogonalised updates, one stack a shape; equal to torch's Muon but for the iteration's coefficients."""

import pytest
import torch

from lmhead.training.optimizers.muon import StackedMuon, orthogonalised


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 64), (2, 64, 16), (1, 1, 5)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_zero_gradient_moves_nothing() -> None:
    assert not orthogonalised(torch.zeros(2, 4, 8)).any()


def test_the_direction_is_the_gradients_polar_factor() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(1, 24, 24)
    u, _, v = torch.linalg.svd(gradient[0])
    cosine = torch.nn.functional.cosine_similarity(orthogonalised(gradient).float().flatten(), (u @ v).flatten(), dim=0)
    assert cosine > 0.97


def test_updates_follow_torchs_muon() -> None:
    torch.manual_seed(0)
    shapes = [(32, 32), (32, 32), (64, 32), (32, 64)]
    ours = [torch.randn(shape, requires_grad=True) for shape in shapes]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    start = [tensor.detach().clone() for tensor in ours]
    one = StackedMuon(ours, lr=0.02, momentum=0.9, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=0.1, adjust_lr_fn="original")
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b, c in zip(ours, theirs, start, strict=True):
        assert torch.nn.functional.cosine_similarity((a - c).flatten(), (b - c).flatten(), dim=0) > 0.95
        assert 0.8 < (a - c).norm() / (b - c).norm() < 1.25


def test_parameters_without_a_gradient_stay() -> None:
    still, moved = torch.ones(4, 4, requires_grad=True), torch.ones(4, 4, requires_grad=True)
    moved.grad = torch.eye(4)
    StackedMuon([still, moved], lr=0.1).step()
    assert torch.equal(still, torch.ones(4, 4))
    assert not torch.equal(moved, torch.ones(4, 4))
