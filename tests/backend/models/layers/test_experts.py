"""Mixture of experts: what goes where, and that nothing else matters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from backend.models.layers.experts import Experts, Routing, balance_loss, experts_from_dense, grouped
from backend.models.layers.transformer import Mlp


@pytest.fixture
def layer() -> Experts:
    torch.manual_seed(0)
    experts = Experts(8, 32, 4)
    nn.init.normal_(experts.gate.weight)
    return experts.double().float()


def by_masks(layer: Experts, tokens: Tensor) -> Tensor:
    """The definition, computed with every expert on every token."""
    value, choice = layer.gate_values(tokens).max(dim=1)
    every = torch.stack([expert(tokens) for expert in layer.experts])
    return value[:, None] * every[choice, torch.arange(len(tokens))]


def test_each_token_gets_its_own_expert(layer: Experts) -> None:
    tokens = torch.randn(50, 8)
    torch.testing.assert_close(layer(tokens), by_masks(layer, tokens))


def test_gradients_are_those_of_the_definition(layer: Experts) -> None:
    tokens = torch.randn(30, 8)
    weights = list(layer.parameters())
    found = torch.autograd.grad(layer(tokens).square().sum(), weights)
    expected = torch.autograd.grad(by_masks(layer, tokens).square().sum(), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_equal_experts_are_the_mlp_times_the_gate(layer: Experts) -> None:
    for expert in layer.experts:
        expert.load_state_dict(layer.experts[0].state_dict())
    tokens = torch.randn(20, 8)
    gate = layer.gate_values(tokens).max(dim=1).values
    torch.testing.assert_close(layer(tokens), gate[:, None] * layer.experts[0](tokens))


def test_order_and_company_do_not_matter(layer: Experts) -> None:
    tokens = torch.randn(3, 10, 8)
    result = layer(tokens)
    order = torch.randperm(30)
    torch.testing.assert_close(layer(tokens.flatten(0, 1)[order]), result.flatten(0, 1)[order])
    torch.testing.assert_close(layer(tokens[1:2]), result[1:2])


def test_experts_without_tokens(layer: Experts) -> None:
    tokens = torch.randn(1, 8).expand(7, 8)  # all of them choose the same
    torch.testing.assert_close(layer(tokens), by_masks(layer, tokens))
    layer(tokens).sum().backward()
    assert all(weight.grad is not None for weight in layer.parameters())  # as data parallel training demands


def test_ties_go_to_the_lowest_index(layer: Experts) -> None:
    nn.init.zeros_(layer.gate.weight)
    tokens = torch.randn(5, 8)
    torch.testing.assert_close(layer(tokens), layer.experts[0](tokens) / 4)


def test_the_gate_stays_in_float32(layer: Experts) -> None:
    tokens, routing = torch.randn(64, 8), []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(tokens, routing)
        gates = layer.gate_values(tokens)
    assert result.dtype == torch.bfloat16
    assert gates.dtype == routing[0].gates.dtype == torch.float32
    assert torch.equal(gates, layer.gate_values(tokens))


def test_statistics_and_loss(layer: Experts) -> None:
    routing: list[Routing] = []
    tokens = torch.randn(40, 8)
    layer(tokens, routing)
    gates = layer.gate_values(tokens)
    fractions = torch.bincount(gates.argmax(dim=1), minlength=4) / 40
    torch.testing.assert_close(routing[0].fractions, fractions)
    loss = balance_loss(routing)
    torch.testing.assert_close(loss, 4 * (fractions * gates.mean(dim=0)).sum())
    loss.backward()
    assert layer.gate.weight.grad is not None and layer.gate.weight.grad.abs().sum() > 0


def test_the_loss_is_one_when_balanced_and_more_when_not() -> None:
    even, first = torch.full((4,), 0.25), torch.tensor([1.0, 0, 0, 0])
    assert balance_loss([Routing(first, even)]).item() == pytest.approx(1.0)
    assert balance_loss([Routing(even, even), Routing(first, first)]).item() == pytest.approx((1 + 4) / 2)
    with pytest.raises(ValueError, match="balance"):
        balance_loss([])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_grouping_is_a_stable_sort(choices: list[int]) -> None:
    choice = torch.tensor(choices)
    places, counts = grouped(choice, functional.one_hot(choice, 5).T)
    assert torch.equal(torch.argsort(choice, stable=True)[places], torch.arange(len(choices)))
    assert counts.tolist() == torch.bincount(choice, minlength=5).tolist()


def test_experts_from_a_dense_model(layer: Experts) -> None:
    dense = nn.ModuleDict({"mlp": Mlp(8, 32), "other": nn.Linear(2, 2)})
    routed = nn.ModuleDict({"mlp": layer, "other": nn.Linear(2, 2)})
    gate = layer.gate.weight.clone()
    routed.load_state_dict(experts_from_dense(dense.state_dict(), routed.state_dict()))
    tokens = torch.randn(9, 8)
    for expert in layer.experts:
        torch.testing.assert_close(expert(tokens), dense["mlp"](tokens))
    assert torch.equal(layer.gate.weight, gate)
    assert torch.equal(routed["other"].weight, dense["other"].weight)
