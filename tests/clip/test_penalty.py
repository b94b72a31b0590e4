"""The Lipschitz penalty: its gradients on both sides, and what they cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clip import Ascent, GivenPairs, LipschitzPenalty, PairSet, difference_quotients
from clip.lipschitz import Reduction
from clip.quotients import Power, see
from tests.clip.training import gradients, random_pairs, smooth_network

PLAIN = Ascent(step_size=0.3, accept=False, adapt="none")


@pytest.mark.parametrize("power", [1, 2])
def test_shared_gradients_equal_separate_ones(power: Power):
    """One backward pass against autograd, once for the parameters and once for the points."""
    model, points = smooth_network(), random_pairs().points
    parameters = list(model.parameters())
    leaf = points.clone().requires_grad_()
    quotients = difference_quotients(model, leaf)
    expected = gradients((quotients**power).mean(), model)
    (slopes,) = torch.autograd.grad(quotients.square().sum() / 2, leaf)
    shared, alone = see(model, points, parameters, power), see(model, points)
    torch.testing.assert_close(shared.quotients, quotients.detach(), rtol=0, atol=0)
    torch.testing.assert_close(shared.gradients, slopes)
    torch.testing.assert_close(alone.gradients, slopes)
    assert alone.parameters == ()
    for found, wanted in zip(shared.parameters, expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("power", [1, 2])
def test_mean_is_taken_before_the_pairs_move(power: Power):
    model, pairs = smooth_network(), random_pairs()
    points = pairs.points.clone()
    penalty = LipschitzPenalty(model, pairs, ascent=PLAIN, reduction="mean", power=power)
    value = penalty()
    reference = (difference_quotients(model, points) ** power).mean()
    assert value.item() == pytest.approx(reference.item(), rel=1e-12)
    for found, wanted in zip(
        gradients(3 * value, model), gradients(3 * reference, model), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    alone = PairSet(GivenPairs(points))
    PLAIN.run(model, alone)
    torch.testing.assert_close(pairs.points, alone.points)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("ascent", [Ascent(), PLAIN])
def test_best_is_taken_after_the_pairs_have_moved(power: Power, ascent: Ascent):
    """Algorithm 2: the maximum over X_Lip as Algorithm 1 leaves it."""
    model, pairs = smooth_network(), random_pairs()
    alone = PairSet(GivenPairs(pairs.points.clone()))
    value = LipschitzPenalty(model, pairs, ascent=ascent, power=power)()
    ascent.run(model, alone)
    torch.testing.assert_close(pairs.points, alone.points)
    reference = difference_quotients(model, pairs.points).max() ** power
    assert value.item() == pytest.approx(reference.item(), rel=1e-12)
    for found, wanted in zip(gradients(value, model), gradients(reference, model), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("reduction", ["best", "mean"])
def test_gradient_against_finite_differences(reduction: Reduction, power: Power):
    model, pairs = smooth_network(), random_pairs()
    penalty = LipschitzPenalty(
        model, pairs, ascent=Ascent(step_size=1e-9), reduction=reduction, power=power
    )
    found = gradients(penalty(), model)
    parameters = list(model.parameters())
    with torch.no_grad():  # the pairs stay
        for parameter, gradient in zip(parameters, found, strict=True):
            flat = parameter.view(-1)
            for index in range(0, len(flat), 5):
                values = []
                for shift in (1e-6, -2e-6):
                    flat[index] += shift
                    values.append(penalty().item())
                flat[index] += 1e-6
                numeric = (values[0] - values[1]) / 2e-6
                assert gradient.view(-1)[index].item() == pytest.approx(numeric, rel=1e-4, abs=1e-7)


def test_quotients_pass_gradcheck():
    model, points = smooth_network(), random_pairs().points.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: difference_quotients(model, p), points)
    weight = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def linear(matrix: Tensor) -> Tensor:
        class Map(nn.Module):
            def forward(self, inputs):
                return inputs @ matrix.T

        return difference_quotients(Map(), points.detach())

    assert torch.autograd.gradcheck(linear, weight)


class _Counted(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, log):
        ctx.log = log
        log["forward"].append(len(inputs))
        return inputs.clone()

    @staticmethod
    def backward(ctx, *grad_outputs):
        ctx.log["backward"].append(len(grad_outputs[0]))
        return grad_outputs[0], None


class Counter(nn.Module):
    """Notes how many inputs pass in each direction."""

    def __init__(self):
        super().__init__()
        self.log: dict[str, list[int]] = {"forward": [], "backward": []}

    def forward(self, inputs):
        return _Counted.apply(inputs, self.log)


@pytest.mark.parametrize(
    ("reduction", "accept", "forward", "backward"),
    [
        ("best", False, [8, 2], [8, 2]),
        ("best", True, [8, 8, 2], [8, 2]),
        ("mean", False, [8], [8]),
        ("mean", True, [8, 8], [8]),
    ],
)
def test_passes_over_the_pairs(reduction: Reduction, accept, forward, backward):
    """What cheap means: four of the twelve pairs per step, two points each."""
    counter = Counter()
    model = nn.Sequential(smooth_network(), counter)
    penalty = LipschitzPenalty(
        model,
        random_pairs(12),
        ascent=Ascent(accept=accept, adapt="pair" if accept else "none"),
        reduction=reduction,
        pairs_per_step=4,
    )
    penalty().backward()
    assert counter.log == {"forward": forward, "backward": backward}


def test_turns_choose_among_all_pairs():
    """The steep pair is looked at in the first turn and still penalised in the second."""
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 1.0]]))
    points = torch.zeros(4, 2, 2, dtype=torch.float64)
    points[0, 1, 0] = 1.0
    points[1:, 1, 1] = 1.0
    pairs = PairSet(GivenPairs(points))
    penalty = LipschitzPenalty(
        model, pairs, ascent=Ascent(step_size=1e-12, adapt="none"), pairs_per_step=2
    )
    assert penalty().item() == pytest.approx(3)
    with torch.no_grad():
        model.weight.mul_(0.5)
    assert penalty().item() == pytest.approx(1.5), "the present weights count"
    assert pairs.quotients.tolist() == pytest.approx([1.5, 1.0, 0.5, 0.5])


def test_mean_over_turns_is_the_mean_over_the_set():
    model = smooth_network()
    pairs = random_pairs(12)
    penalty = LipschitzPenalty(
        model, pairs, ascent=Ascent(step_size=1e-12), reduction="mean", pairs_per_step=4
    )
    turns = [penalty().item() for _ in range(3)]
    expected = difference_quotients(model, pairs.points).mean().item()
    assert sum(turns) / 3 == pytest.approx(expected, rel=1e-6)


def test_evaluation_and_streams_are_nobody_elses():
    """Dropout and batch statistics of the training mode neither enter nor notice."""
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 2)
    ).double()
    stream, statistics = torch.get_rng_state(), model[1].state_dict()["running_mean"].clone()
    for reduction in ("best", "mean"):
        pairs = random_pairs()
        stream = torch.get_rng_state()
        points = pairs.points.clone()
        value = LipschitzPenalty(model, pairs, ascent=PLAIN, reduction=reduction)()
        value.backward()
        assert torch.equal(torch.get_rng_state(), stream)
        reference = difference_quotients(
            model.eval(), pairs.points if reduction == "best" else points
        )
        model.train()
        expected = reference.max() if reduction == "best" else reference.mean()
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.equal(model[1].state_dict()["running_mean"], statistics)


@pytest.mark.parametrize("reduction", ["best", "mean"])
def test_frozen_and_unused_parameters(reduction: Reduction):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.unused = nn.Linear(4, 5), nn.Linear(5, 2), nn.Linear(2, 2)

        def forward(self, inputs):
            return self.second(torch.tanh(self.first(inputs)))

    model = Network().double()
    model.first.requires_grad_(False)
    LipschitzPenalty(model, random_pairs(), reduction=reduction)().backward()
    assert model.first.weight.grad is None
    assert model.unused.weight.grad is None
    assert model.second.weight.grad is not None
    assert model.second.weight.grad.abs().max() > 0


@pytest.mark.parametrize("reduction", ["best", "mean"])
@pytest.mark.parametrize("power", [1, 2])
def test_coinciding_pairs_give_a_finite_gradient(reduction: Reduction, power: Power):
    model = smooth_network()
    points = torch.randn(3, 1, 4, dtype=torch.float64).expand(-1, 2, -1).clone()
    for first_apart in (False, True):
        if first_apart:
            points[0, 1] += 1
        pairs = PairSet(GivenPairs(points))
        value = LipschitzPenalty(model, pairs, reduction=reduction, power=power)()
        assert (value > 0) == first_apart
        assert all(g.isfinite().all() for g in torch.autograd.grad(value, list(model.parameters())))


def test_pairs_follow_the_model():
    model = smooth_network()
    pairs = PairSet(GivenPairs(torch.rand(3, 2, 4)))
    assert LipschitzPenalty(model, pairs)().dtype == torch.float64
    assert pairs.points.dtype == torch.float64


def test_without_autograd_pairs_stay():
    model, pairs = smooth_network(), random_pairs(12)
    for reduction in ("best", "mean"):
        penalty = LipschitzPenalty(model, pairs, reduction=reduction, pairs_per_step=4)
        state = pairs.state_dict()
        with torch.no_grad():
            value = penalty()
            quotients = difference_quotients(model, pairs.points)
        assert value == (quotients.max() if reduction == "best" else quotients.mean())
        assert pairs.state_dict()["cursor"] == state["cursor"]
        assert torch.equal(pairs.points, state["points"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reduction": "sum"}, "Invalid reduction: 'sum'.*best, mean"),
        ({"power": 3}, r"power=3: must be one of \(1, 2\)"),
        ({"pairs_per_step": 0}, "pairs_per_step=0: must be at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        LipschitzPenalty(smooth_network(), random_pairs(), **settings)
