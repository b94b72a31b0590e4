"""Adaptive steps and the union of attacks: closed forms, and never weaker than what it consists of."""

from __future__ import annotations

import copy
import functools
from functools import partial

import pytest
import torch
from torch import nn

from bregbench.models import Cnn, Mlp
from bregbench.models.activation import Activation
from clip.attacks import auto_pgd, fgsm, paper_pgd, pgd, robust_accuracy, strong
from clip.auto_pgd import checkpoints
from clip.scores import outputs_and_scores
from tests.clip.cases import class_means, train
from tests.clip.test_attacks import RADII, linear_problem, margins

LOSSES = ("cross_entropy", "margin", "dlr")


@functools.cache
def trained_mlp(*, activate_output: bool) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    images, labels = class_means(32, side=8)
    config = Mlp(hidden=[32], activation=Activation.sigmoid, activate_output=activate_output)
    model = config.build(input_shape=(1, 8, 8), classes=10)
    train(model, images, labels, steps=120)
    return model, images, labels


@pytest.fixture(scope="module", params=[False, True], ids=["logits", "sigmoid"])
def trained(request) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    return trained_mlp(activate_output=request.param)


def test_checkpoints_come_ever_closer():
    """0.22, then gaps of 0.19, 0.16, 0.13, 0.10, 0.07, 0.06, 0.06: the paper's recursion."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(50) == [11, 21, 29, 35, 40, 44, 47, 50]
    assert checkpoints(1) == [1]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_adaptive_steps_meet_the_closed_form_of_two_linear_classes(norm, dual, loss):
    model, points, labels = linear_problem()
    attack = partial(auto_pgd, norm=norm, loss=loss, steps=20, value_range=None)
    found = robust_accuracy(model, points, labels, radii=RADII, attack=attack)
    distances = margins(model, points, labels, dual)
    for radius in RADII:
        assert found[radius] == pytest.approx(float((distances > radius).double().mean()))


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_union_is_close_to_the_closed_form_of_many_linear_classes(norm, dual):
    model, points, labels = linear_problem(classes=6)
    attack = partial(strong, norm=norm, steps=30, restarts=2, value_range=None)
    radii = RADII[1::2]
    found = robust_accuracy(model, points, labels, radii=radii, attack=attack)
    distances = margins(model, points, labels, dual)
    for radius in radii:
        best = float((distances > radius).double().mean())
        assert best - 1e-12 <= found[radius] <= best + 0.01


def test_step_sizes_fall_until_a_maximum_inside_the_ball_is_hit():
    """Plain steps of twice the radius would jump over it for ever."""

    class Bump(nn.Module):
        def forward(self, points):
            lead = 0.01 - torch.exp(-((points - 0.3) ** 2).sum(1) / 1e-3)
            return torch.stack([lead + 0.0 * points[:, 0], torch.zeros_like(lead)], dim=1)

    points = torch.full((1, 2), 0.25)  # a narrow wrong place, a tenth of the ball away
    found = auto_pgd(Bump(), points, torch.tensor([0]), radii=[0.5], loss="margin", steps=100)
    assert bool(found.broken[0.5].all())


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_union_breaks_whatever_a_part_of_it_breaks(trained, norm):
    model, images, labels = trained
    radii = [0.3, 0.6, 1.0] if norm == "l2" else [0.05, 0.1, 0.2]
    steps = 10
    union = strong(model, images, labels, radii=radii, norm=norm, steps=steps)
    parts = [pgd(model, images, labels, radii=radii, norm=norm, steps=steps)]
    if norm == "l2":
        in_range = {"steps": steps, "value_range": (0.0, 1.0)}
        parts.append(paper_pgd(model, images, labels, radii=radii, **in_range))
    parts += [
        auto_pgd(model, images, labels, radii=radii[:1], norm=norm, loss=loss, steps=steps)
        for loss in LOSSES
    ]
    for part in parts:
        for radius in part.broken:
            assert bool((union.broken[radius] | ~part.broken[radius]).all())
    counts = [int(union.broken[radius].sum()) for radius in radii]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    assert sum(counts) > sum(int(parts[0].broken[radius].sum()) for radius in radii)


@pytest.mark.parametrize("attack", [strong, auto_pgd])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_adversarial_images_lie_in_ball_and_range_and_are_misclassified(trained, norm, attack):
    model, images, labels = trained
    for radius in (0.05, 0.5):
        found = attack(model, images, labels, radii=[radius], norm=norm, steps=6)
        adversarial, broken = found.images[radius], found.broken[radius]
        moved = (adversarial - images).flatten(1)
        lengths = torch.linalg.vector_norm(moved, ord=2 if norm == "l2" else float("inf"), dim=1)
        assert float(lengths.max()) <= radius * (1 + 1e-5)
        assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1
        with torch.no_grad():
            assert torch.equal(model(adversarial).argmax(dim=1) != labels, broken)


def test_batches_and_time_do_not_matter(trained):
    model, images, labels = trained
    attack = partial(strong, steps=8, restarts=1)
    whole = robust_accuracy(model, images, labels, radii=[0.4], attack=attack)
    assert whole == robust_accuracy(model, images, labels, radii=[0.4], attack=attack, batch_size=9)


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.ReLU(inplace=True)])
def test_scores_are_what_the_last_activation_is_applied_to(last):
    torch.manual_seed(0)
    linear = nn.Linear(3, 4)
    images = torch.randn(5, 3)
    outputs, scores = outputs_and_scores(nn.Sequential(linear, nn.Sequential(last)), images)
    assert torch.equal(scores, linear(images))
    assert torch.equal(outputs, last(linear(images)))


class Functional(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.function = function

    def forward(self, images):
        return self.function(self.linear(images))


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (torch.sigmoid, True),
        (lambda z: z.sigmoid(), True),
        (lambda z: nn.functional.softmax(z, dim=-1), True),
        (lambda z: z.clone().relu_(), True),
        (lambda z: torch.sigmoid(z).flatten(1).float(), True),
        (lambda z: nn.functional.leaky_relu(z).log_softmax(1), False),  # up to the leaky ReLU only
        (lambda z: z.softmax(dim=0), False),  # over the batch: not the order of the classes
        (nn.functional.gelu, False),  # not monotone
        (lambda z: 1 - torch.sigmoid(z), False),
    ],
)
def test_scores_behind_functions(function, seen):
    model = Functional(function)
    images = torch.randn(5, 3)
    outputs, scores = outputs_and_scores(model, images)
    assert torch.equal(outputs, model(images))
    assert torch.equal(scores, model.linear(images)) == seen


def test_networks_of_the_bench_that_end_in_logits_keep_their_outputs():
    model = Cnn(channels=[2, 2], hidden=[8]).build(input_shape=(1, 28, 28), classes=10)
    outputs, scores = outputs_and_scores(model, torch.rand(2, 1, 28, 28))
    assert torch.equal(outputs, scores)


class Times(nn.Module):
    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images):
        return self.factor * self.model(images)


SCALES = [
    *((attack, factor) for attack in (pgd, fgsm, paper_pgd) for factor in (10.0, 1e3, 1e25)),
    *((partial(auto_pgd, steps=20), factor) for factor in (10.0, 1e25)),
    # Of tiny logits the cross-entropy has another gradient, a fair one; the union minds neither.
    *((partial(strong, steps=10), factor) for factor in (1e-20, 1e25)),
]


@pytest.mark.parametrize(("attack", "factor"), SCALES)
def test_scale_of_the_logits_hides_nothing(attack, factor):
    model, images, labels = trained_mlp(activate_output=False)
    plain, scaled = (
        robust_accuracy(m, images, labels, radii=[1.6], attack=attack)
        for m in (model, Times(model, factor))
    )
    assert plain[1.6] < 0.9 < robust_accuracy(model, images, labels, radii=[0.0])[0.0]
    assert scaled[1.6] <= plain[1.6] + 0.1


def test_takeover_is_said():
    model, images, labels = trained_mlp(activate_output=False)
    assert robust_accuracy(model, images, labels, radii=[0.2]).masked == 0
    found = robust_accuracy(Times(model, 1e6), images, labels, radii=[0.2])
    assert found.masked > 0.5
    attacked = pgd(Times(model, 1e6), images, labels, radii=[0.2])
    assert attacked.masked is not None
    assert float(attacked.masked.float().mean()) == pytest.approx(found.masked)


def saturated_linear() -> nn.Linear:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e4, 0.0], [0.0, 1e4]]))
        model.bias.zero_()
    return model


@pytest.mark.parametrize("attack", [pgd, paper_pgd, fgsm])
def test_saturated_model_is_broken_by_the_loss_that_takes_over(attack):
    points = torch.tensor([[0.9, 0.1]])
    result = attack(saturated_linear(), points, torch.tensor([0]), radii=[2.0])
    assert bool(result.broken[2.0].all())
    assert bool(result.masked.all())


@pytest.mark.parametrize("attack", [pgd, paper_pgd, fgsm, partial(strong, steps=5)])
def test_saturated_output_activation_is_looked_behind(attack):
    """Both outputs are 1 in float32, or 0 behind a ReLU: no loss of them has a gradient."""

    class Saturated(nn.Module):
        def forward(self, points):
            lead = points[:, 0] - points[:, 1]
            return torch.relu(torch.stack([lead + 0.5, 0.3 - 20 * points[:, 0]], dim=1) - 1e-3)

    points = torch.tensor([[0.7, 0.1]])
    found = attack(Saturated(), points, torch.tensor([0]), radii=[1.5])
    assert bool(found.images[1.5].isfinite().all())
    assert not torch.equal(found.images[1.5], points)


class Rooted(nn.Module):
    """Roots have infinite slopes at 0, which a chain rule turns into values that are not numbers."""

    def __init__(self, model: nn.Module, *, nan: bool) -> None:
        super().__init__()
        self.model, self.nan = model, nan

    def forward(self, images):
        zero = torch.zeros_like(images)
        same = images + ((images * zero).sqrt() if self.nan else 0 * images)
        return self.model(same)


@pytest.mark.parametrize("attack", [pgd, fgsm, paper_pgd, auto_pgd, partial(strong, steps=5)])
def test_gradients_that_are_no_numbers_break_nothing(attack):
    model, images, labels = trained_mlp(activate_output=False)
    found = attack(Rooted(model, nan=True), images, labels, radii=[0.2])
    with torch.no_grad():
        clean = model(images).argmax(1) != labels
        wrong = model(found.images[0.2]).argmax(1) != labels
    assert bool(found.images[0.2].isfinite().all())
    assert torch.equal(found.broken[0.2], wrong)
    assert torch.equal(found.broken[0.2], clean)  # nothing to follow, nothing found
    assert bool(found.masked[~clean].all())


def test_infinite_slopes_are_followed():
    class Root(nn.Module):
        def forward(self, points):
            return torch.stack([0.5 * torch.ones(len(points)), points.sqrt().sum(1)], dim=1)

    points = torch.tensor([[0.0, 0.0], [0.1, 0.0]])
    found = pgd(Root(), points, torch.tensor([0, 0]), radii=[0.5], steps=20)
    assert bool(found.broken[0.5].all())


class Steps(nn.Module):
    def forward(self, points):
        return torch.stack([(points > 0.5).float().sum(1), torch.full((len(points),), 0.5)], dim=1)


@pytest.mark.parametrize("attack", [pgd, auto_pgd, partial(strong, steps=5)])
def test_network_without_gradient_is_attacked_in_vain_and_named(attack):
    points = torch.rand(4, 3) * 0.4 + 0.6
    found = attack(Steps(), points, torch.zeros(4, dtype=torch.int64), radii=[0.01])
    assert not bool(found.broken[0.01].any())
    assert bool(found.masked.all())


class Fails(nn.Module):
    """Returns a value that is no number, everywhere or away from clean images only."""

    def __init__(self, value: float, *, attacked_only: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.value, self.attacked_only = value, attacked_only

    def forward(self, points):
        outside = (points != 0.5).any(dim=1, keepdim=True) | (not self.attacked_only)
        outputs = self.linear(points)
        return torch.where(outside, torch.full_like(outputs, self.value), outputs)


@pytest.mark.parametrize("attacked_only", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("attack", [pgd, fgsm, paper_pgd, auto_pgd, strong])
def test_outputs_that_are_not_finite_are_an_error(attack, value, attacked_only):
    torch.manual_seed(0)
    model = Fails(value, attacked_only=attacked_only)
    points = torch.full((2, 2), 0.5)
    with torch.no_grad():
        labels = model.linear(points).argmax(1)
    with pytest.raises(ValueError, match=r"outputs are not finite.*of 2 images") as error:
        robust_accuracy(model, points, labels, radii=[0.3], attack=attack)
    assert "\n" not in str(error.value)


def test_clean_outputs_are_checked_at_radius_zero_too():
    model = Fails(float("nan"), attacked_only=False)
    with pytest.raises(ValueError, match="not finite"):
        robust_accuracy(model, torch.full((2, 2), 0.5), torch.zeros(2).long(), radii=[0.0])


def test_half_precision_models_are_attacked():
    model, images, labels = trained_mlp(activate_output=False)
    plain = robust_accuracy(model, images, labels, radii=[0.4])
    found = robust_accuracy(copy.deepcopy(model).bfloat16(), images, labels, radii=[0.4])
    assert abs(found[0.4] - plain[0.4]) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_union_is_about_as_strong_as_autoattack(trained, norm):
    """The ensemble of Croce and Hein, where `pip install bregbench[attacks]` has brought it."""
    theirs = pytest.importorskip("pyautoattack", reason="needs bregbench[attacks]")
    model, images, labels = trained
    radius = 0.4 if norm == "l2" else 0.05
    name = {"l2": "L2", "linf": "Linf"}[norm]
    attack = theirs.AutoAttack(model.eval(), norm=name, eps=radius, seed=0)
    adversarial = attack.run_standard_evaluation(images, labels)[0]
    with torch.no_grad():
        left = float((model(adversarial).argmax(1) == labels).float().mean())
    ours = robust_accuracy(model, images, labels, radii=[radius], attack=partial(strong, norm=norm))
    assert ours[radius] <= left + 0.05
