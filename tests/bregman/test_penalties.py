"""Penalties: each prox against its definition, each subgradient against Fenchel's equality."""

from __future__ import annotations

import math

import pytest
import torch

from bregman import make_penalty
from bregman.choices import GroupName
from bregman.groups import group_dims
from bregman.penalties import prox_list, total_value
from tests.bregman.cases import PENALTIES, PenaltyCase, dual_ball_projection, sparse_start

LAM = 0.4


def build(case: PenaltyCase):
    return make_penalty(case.name, group=case.group, group_weight=case.group_weight)


def point(case: PenaltyCase) -> torch.Tensor:
    return torch.randn(case.shape, dtype=torch.float64)


@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_prox_minimises_its_definition(case):
    """F is 1-strongly convex: its minimiser p, and no other point, has F(y) >= F(p) + |y - p|^2 / 2."""
    penalty, x = build(case), point(case)

    def objective(y):
        return 0.5 * (y - x).square().sum() + penalty.value(y, LAM)

    p = penalty.prox(x, LAM)
    rivals = [x, torch.zeros_like(x), x.clamp(min=0), p.sign() * p.abs().clamp(min=0.1)]
    rivals += [
        p + scale * torch.randn_like(x) for scale in (1e-4, 1e-2, 1e-1, 1.0) for _ in range(50)
    ]
    rivals += [p * (1 + scale) for scale in (-0.1, -1e-3, 1e-3, 0.1)]
    if case.name == "nonnegative":
        rivals = [y.clamp(min=0) for y in rivals]
    for y in rivals:
        assert objective(y) >= objective(p) + 0.5 * (y - p).square().sum() - 1e-10


@pytest.mark.parametrize("name", ["l1", "nonnegative"])
def test_elementwise_prox_equals_grid_search(name):
    penalty = make_penalty(name)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    if name == "nonnegative":
        grid = grid[grid >= 0]
    for x in torch.linspace(-2, 2, 41, dtype=torch.float64):
        best = grid[(0.5 * (grid - x) ** 2 + LAM * grid.abs()).argmin()]
        assert abs(penalty.prox(x[None], LAM) - best) <= 1e-3


@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_moreau_identity(case):
    x = point(case)
    parts = build(case).prox(x, LAM) + dual_ball_projection(case, x, LAM)
    torch.testing.assert_close(parts, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_fenchel_equality_at_subgradients(case):
    """<x, p> = J(x) with p in the dual ball: together they say that p is a subgradient at x."""
    penalty, x = build(case), sparse_start(case)
    p = penalty.subgradient(x, LAM)
    torch.testing.assert_close((x * p).sum(), penalty.value(x, LAM), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dual_ball_projection(case, p, LAM), p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_subgradient_is_zero_where_zero_may_be_chosen(case):
    assert not build(case).subgradient(torch.zeros(case.shape), LAM).any()


def test_l12_subgradient_vanishes_on_zero_groups_only():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    p = make_penalty("l12", group="row", group_weight="none").subgradient(x, 2.0)
    torch.testing.assert_close(p, torch.tensor([[1.2, 1.6], [0.0, 0.0]]))


@pytest.mark.parametrize("case", PENALTIES, ids=str)
@pytest.mark.parametrize("in_place", [False, True])
def test_fast_prox_equals_reference(case, in_place):
    penalty, x = build(case), point(case)
    expected = penalty.prox(x, LAM)
    out = x if in_place else torch.full_like(x, torch.nan)
    penalty.prox_into(x, LAM, out)
    torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", [case for case in PENALTIES if len(case.shape) == 4], ids=str)
def test_fast_prox_in_channels_last(case):
    penalty, x = build(case), point(case)
    expected = penalty.prox(x, LAM)
    layouts = [torch.channels_last, torch.contiguous_format]
    for source_layout in layouts:
        for out_layout in layouts:
            out = torch.empty_like(x).to(memory_format=out_layout)
            penalty.prox_into(x.to(memory_format=source_layout), LAM, out)
            torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-14)


def test_fast_prox_of_strided_views():
    base = torch.randn(8, 6, 3, 3, dtype=torch.float64)
    for penalty in (
        make_penalty("l1"),
        make_penalty("l12", group="kernel"),
        make_penalty("nuclear"),
    ):
        x = base[::2, 1::2]
        out = torch.zeros(8, 6, 3, 3, dtype=torch.float64)[::2, 1::2]
        penalty.prox_into(x, LAM, out)
        torch.testing.assert_close(out, penalty.prox(x, LAM), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_prox_rounds_into_low_precision(case):
    x = point(case).float()
    out = torch.empty(case.shape, dtype=torch.bfloat16)
    build(case).prox_into(x, LAM, out)
    torch.testing.assert_close(out, build(case).prox(x, LAM).bfloat16())


@pytest.mark.parametrize("case", PENALTIES[1:], ids=str)
def test_value_is_differentiable(case):
    # No entry, group or singular value vanishes here, so there is one subgradient: the gradient.
    x = point(case).abs().requires_grad_()
    build(case).value(x, LAM).backward()
    expected = build(case).subgradient(x.detach(), LAM)
    torch.testing.assert_close(x.grad, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", PENALTIES, ids=str)
def test_penalties_are_positively_homogeneous(case):
    """The identity on which the fast path of the Bregman optimisers rests."""
    penalty, x = build(case), point(case)
    scaled = penalty.prox(2.5 * x, 2.5 * LAM)
    torch.testing.assert_close(scaled, 2.5 * penalty.prox(x, LAM), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("group_weight", ["sqrt", "none"])
@pytest.mark.parametrize(
    ("shape", "group"),
    [((4, 3, 1, 1), "kernel"), ((4, 1), "row"), ((1, 4), "column"), ((5, 1), (1,))],
)
def test_groups_of_one_entry_are_l1(shape, group, group_weight):
    x = torch.randn(shape)
    single, l1 = make_penalty("l12", group=group, group_weight=group_weight), make_penalty("l1")
    out, expected = torch.empty(shape), torch.empty(shape)
    single.prox_into(x, LAM, out)
    l1.prox_into(x, LAM, expected)
    assert torch.equal(out, expected)
    torch.testing.assert_close(single.value(x), l1.value(x))
    torch.testing.assert_close(single.subgradient(x), l1.subgradient(x))


def test_sqrt_weight_is_the_root_of_the_group_size():
    x = torch.randn(4, 3, 3, 5)
    for group, size in {"kernel": 15, "filter": 45, "channel": 60}.items():
        weighted = make_penalty("l12", group=group).value(x)
        plain = make_penalty("l12", group=group, group_weight="none").value(x)
        torch.testing.assert_close(weighted, math.sqrt(size) * plain)


def test_value_by_hand():
    x = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
    assert make_penalty("l1").value(x, 2.0) == 18.0
    assert make_penalty("l12", group="row", group_weight="none").value(x) == 7.0
    assert make_penalty("l12", group="column", group_weight="none").value(
        x
    ).item() == pytest.approx(3 + math.sqrt(20))
    assert make_penalty("nonnegative").value(x) == torch.inf
    assert make_penalty("nonnegative").value(x.abs(), 2.0) == 18.0
    assert make_penalty("nuclear").value(
        torch.diag(torch.tensor([3.0, -2.0]))
    ).item() == pytest.approx(5)


@pytest.mark.parametrize(
    ("group", "shape", "dims"),
    [
        ("row", (4, 3), (1,)),
        ("column", (4, 3), (0,)),
        ("filter", (4, 3), (1,)),
        ("channel", (4, 3), (0,)),
        ("kernel", (4, 3, 5, 5), (2, 3)),
        ("kernel", (4, 3, 5), (2,)),
        ("filter", (4, 3, 5, 5), (1, 2, 3)),
        ("channel", (4, 3, 5, 5), (0, 2, 3)),
        ("complex", (4, 3, 2), (2,)),
        ((-1, 0), (4, 3, 2), (0, 2)),
    ],
)
def test_group_axes(group, shape, dims):
    assert group_dims(group, shape) == dims


@pytest.mark.parametrize(
    ("group", "shape"),
    [
        ("kernel", (4, 3)),
        ("row", (4,)),
        ("row", (4, 3, 3, 3)),
        ("column", (4, 3, 3, 3)),
        ("filter", (4,)),
        ("channel", (4,)),
        ("complex", (4, 3)),
        ("complex", ()),
        ((2,), (4, 3)),
        ((0, -2), (4, 3)),
    ],
)
def test_group_that_does_not_fit_is_refused(group, shape):
    with pytest.raises(ValueError, match="shape"):
        make_penalty("l12", group=group).check(shape)


def test_bad_names_are_refused():
    with pytest.raises(ValueError, match=r"Invalid penalty: 'l2' \(must be one of none, l1"):
        make_penalty("l2")
    with pytest.raises(ValueError, match=f"must be one of {', '.join(GroupName)}"):
        make_penalty("l12", group="rows")
    with pytest.raises(ValueError, match="'l12' needs a group"):
        make_penalty("l12")
    with pytest.raises(ValueError, match="penalty 'l1' has no groups"):
        make_penalty("l1", group="row")
    with pytest.raises(ValueError, match="Invalid group_weight: 'size'"):
        make_penalty("l12", group="row", group_weight="size")
    with pytest.raises(ValueError, match="one or more dimensions"):
        make_penalty("l12", group=())
    with pytest.raises(ValueError, match="needs 2 dimensions"):
        make_penalty("nuclear").check((3,))


def test_divergence_stays_visible():
    x = torch.full((4, 3), torch.nan)
    for penalty in (
        make_penalty("l1"),
        make_penalty("l12", group="row"),
        make_penalty("nonnegative"),
    ):
        penalty.prox_into(x, LAM, x)
        assert x.isnan().all()


def test_list_forms():
    penalty = make_penalty("l1")
    tensors = [torch.randn(3), torch.randn(2, 2)]
    proxes = prox_list(penalty, tensors, LAM)
    for x, p in zip(tensors, proxes, strict=True):
        torch.testing.assert_close(p, penalty.prox(x, LAM))
    expected = sum(penalty.value(x, LAM) for x in tensors)
    torch.testing.assert_close(total_value(penalty, tensors, LAM), expected)
    assert total_value(penalty, []) == 0
    returned = prox_list(penalty, tensors, LAM, outs=tensors)
    assert all(a is b for a, b in zip(returned, tensors, strict=True))
    torch.testing.assert_close(tensors, proxes)
