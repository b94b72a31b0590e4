"""What CLIP is compared with: weight penalty, product of layer norms, adversarial training."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clip import (
    AdversarialTraining,
    BoundError,
    Discrepancy,
    PenalisedLoss,
    ProductNorm,
    WeightPenalty,
    attacks,
    upper_bound,
)
from tests.clip.cases import absolute_value, class_means, norm, randomize
from tests.clip.training import batches, fit, fit_plainly, gradients, same, smooth_network, state


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode="circular"),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("biases", [False, True])
def test_weight_penalty_by_hand(power, biases):
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 3.0]]))
        model.bias.fill_(6.0)
    value = WeightPenalty(model, power=power, biases=biases)()
    assert value.item() == pytest.approx((7.0 if biases else 13**0.5) ** power)
    value.backward()
    assert (model.bias.grad is not None) == biases
    scale = 2 if power == 2 else 1 / value.item()
    assert model.weight.grad is not None
    torch.testing.assert_close(model.weight.grad, scale * model.weight.detach())


def test_weight_penalty_of_zeros_and_of_what_is_frozen():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    WeightPenalty(model)().backward()
    assert all(p.grad.eq(0).all() for p in model.parameters() if p.grad is not None)
    model[0].requires_grad_(False)
    nn.init.ones_(dict(model.named_parameters())["0.weight"])
    assert WeightPenalty(model)() == 0


def test_weight_penalty_under_the_rule():
    """The paper's comparison: mu rises while the accuracy is above the target."""
    model = smooth_network()
    rule = Discrepancy(0.0, step=0.05)
    objective = PenalisedLoss(model, F.cross_entropy, {"mu": (WeightPenalty(model), rule)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = WeightPenalty(model)().item()
    for batch in batches(40):
        fit(objective, model, optimizer, [batch])
        objective.update(0.5)
    assert objective.weights()["mu"] == pytest.approx(2)
    assert WeightPenalty(model)().item() < 0.3 * before
    objective.end_epoch()
    objective.load_state_dict(objective.state_dict())


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: nn.Linear(4, 3), (4,)),
        (absolute_value, (1,)),
        (lambda: nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.ELU()), (5,)),
        (lambda: randomize(convolutions()), (1, 8, 8)),
        (lambda: nn.Sequential(nn.Linear(300, 280), nn.Tanh(), nn.Linear(280, 5)), (300,)),
    ],
)
def test_product_equals_the_upper_bound(build, shape):
    model = build().double()
    product = ProductNorm(model, shape, iterations=100)
    assert product().item() == pytest.approx(upper_bound(model, shape), rel=1e-3)
    assert product().item() <= upper_bound(model, shape) * (1 + 1e-7)
    assert ProductNorm(model, shape, power=2)().item() == pytest.approx(
        ProductNorm(model, shape)().item() ** 2
    )


def test_product_gradient_is_that_of_spectral_norms():
    model = nn.Sequential(nn.Linear(6, 9), nn.Sigmoid(), nn.Linear(9, 4)).double()
    value = ProductNorm(model, (6,))()
    reference = 0.25
    for layer in (model[0], model[2]):
        reference = reference * torch.linalg.matrix_norm(layer.weight, ord=2)
    assert value.item() == pytest.approx(float(torch.as_tensor(reference).detach()), rel=1e-10)
    value.backward()
    weights = [model[0].weight, model[2].weight]
    for weight, wanted in zip(weights, torch.autograd.grad(reference, weights), strict=True):  # type: ignore[arg-type]
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, wanted)


@pytest.mark.parametrize("name", ["0.weight", "1.weight", "4.weight", "7.weight"])
def test_product_gradient_against_finite_differences(name):
    model = randomize(convolutions()).double()
    with torch.no_grad():  # positive kernels have one largest singular value far from the next
        for parameter in model.parameters():
            parameter.abs_()
    product = ProductNorm(model, (1, 8, 8), iterations=40)
    parameter = dict(model.named_parameters())[name]
    (gradient,) = torch.autograd.grad(product(), parameter)
    direction = torch.randn_like(parameter)
    values = []
    with torch.no_grad():
        for shift in (1e-5, -2e-5):
            parameter.add_(direction, alpha=shift)
            values.append(product().item())
    numeric = (values[0] - values[1]) / 2e-5
    assert (gradient * direction).sum().item() == pytest.approx(numeric, rel=1e-4)


def test_iteration_keeps_up_with_training():
    """One iteration per call suffices because vectors are kept."""
    model = convolutions()[:1].append(nn.Flatten()).append(nn.Linear(192, 3)).double()
    product = ProductNorm(model, (1, 8, 8))
    assert product().item() == pytest.approx(upper_bound(model, (1, 8, 8)), rel=1e-3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        product().backward()
        optimizer.step()
    assert product().item() == pytest.approx(upper_bound(model, (1, 8, 8)), rel=0.02)
    again = ProductNorm(model, (1, 8, 8))
    again.load_state_dict(product.state_dict())
    assert again().item() == product().item()


def test_product_of_a_layer_of_zeros():
    for build in (lambda: nn.Linear(3, 2), lambda: nn.Linear(300, 280)):
        model = build()
        nn.init.zeros_(model.weight)
        value = ProductNorm(model, (model.in_features,))()
        assert value == 0
        value.backward()
        assert model.weight.grad is not None
        assert model.weight.grad.isfinite().all()


def test_product_overregularises_example_4_7():
    """Penalising the product shrinks |x|, whose constant 1 the data ask for, more than Lip does."""
    assert ProductNorm(absolute_value(), (1,))().item() == pytest.approx(2)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs):
        return inputs + self.layer(inputs)


def test_networks_without_a_product():
    with pytest.raises(BoundError, match="branches"):
        ProductNorm(Branches(), (4,))
    scaled = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with pytest.raises(ValueError, match=r"module '1' \(LayerNorm\) has parameters but no"):
        ProductNorm(scaled, (4,))


def attacked_distance(objective, inputs, targets, order) -> torch.Tensor:
    steps = (objective.attacked(inputs, targets) - inputs).flatten(1)
    return torch.linalg.vector_norm(steps, ord=order, dim=1)


@pytest.mark.parametrize(("norm", "order", "radius"), [("l2", 2, 1.5), ("linf", float("inf"), 0.1)])
def test_attacked_inputs_are_worse_and_in_the_ball(norm, order, radius):
    images, labels = class_means(20, side=6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 10))
    objective = AdversarialTraining(model, F.cross_entropy, radius=radius, norm=norm)
    attacked = objective.attacked(images, labels)
    assert attacked_distance(objective, images, labels, order).max() <= radius * (1 + 1e-5)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    clean = F.cross_entropy(model(images), labels)
    random = AdversarialTraining(model, F.cross_entropy, radius=radius, norm=norm, step_size=1e-9)
    noisy = F.cross_entropy(model(random.attacked(images, labels)), labels)
    assert F.cross_entropy(model(attacked), labels) - clean > 5 * (noisy - clean).abs()


def test_maximum_over_a_ball_of_a_linear_model():
    """Two classes: the loss is largest against the difference of their weights."""
    model = nn.Linear(5, 2).double()
    images, labels = torch.rand(7, 5).double(), torch.randint(2, (7,))
    objective = AdversarialTraining(
        model, F.cross_entropy, radius=0.3, steps=60, value_range=None, step_size=0.1
    )
    direction = (model.weight[1] - model.weight[0]).detach()
    wrong = torch.where(labels == 0, 1.0, -1.0)[:, None] * direction / direction.norm()
    torch.testing.assert_close(
        objective.attacked(images, labels), images + 0.3 * wrong, rtol=0, atol=1e-4
    )


def test_radius_zero_is_plain_training_to_the_bit():
    results = []
    for adversarial in (False, True):
        torch.manual_seed(1)
        model = smooth_network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if adversarial:
            fit(AdversarialTraining(model, F.cross_entropy, radius=0), model, optimizer, batches(5))
        else:
            fit_plainly(model, optimizer, batches(5))
        results.append(state(model))
    assert same(*results)


def test_share_mixes_clean_and_attacked_losses():
    model = smooth_network()
    inputs, targets = next(batches(1))

    def build(share):
        return AdversarialTraining(model, F.cross_entropy, radius=0.5, share=share)

    attacked = build(1.0)(inputs, targets).loss
    mixed = build(0.25)(inputs, targets)
    clean = F.cross_entropy(model(inputs), targets)
    assert mixed.loss == clean.detach()
    assert attacked > clean
    assert mixed.total.item() == pytest.approx((0.25 * attacked + 0.75 * clean).item())


def test_adversarial_training_makes_robust():
    images, labels = class_means(100, side=6)
    robust = []
    for radius in (0.0, 1.0):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 10))
        objective = AdversarialTraining(model, F.cross_entropy, radius=radius, steps=4)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        fit(objective, model, optimizer, [(images, labels)] * 50)
        accuracy = attacks.robust_accuracy(
            model, images, labels, radii=(1.0,), attack=functools.partial(attacks.pgd, steps=8)
        )
        robust.append(accuracy[1.0])
    assert robust[1] > robust[0] + 0.1


def test_an_attack_may_take_the_place_of_the_ascent():
    images, labels = class_means(10, side=6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 10))
    attack = functools.partial(attacks.pgd, steps=3)
    objective = AdversarialTraining(model, F.cross_entropy, radius=0.5, attack=attack)
    expected = attack(model, images, labels, radii=(0.5,)).images[0.5]
    assert torch.equal(objective.attacked(images, labels), expected)


def test_adversarial_state_and_traces():
    images, labels = class_means(6, side=6)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.Dropout())
    objective = AdversarialTraining(model, F.cross_entropy, radius=0.5)
    objective.attacked(images, labels)
    assert all(p.grad is None for p in model.parameters())
    assert model[2].training
    kept = objective.state_dict()
    first, second = objective.attacked(images, labels), objective.attacked(images, labels)
    objective.load_state_dict(kept)
    assert torch.equal(objective.attacked(images, labels), first)
    assert not torch.equal(first, second)
    objective.update(0.5)
    objective.end_epoch()
    assert objective.weights() == {}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda model: WeightPenalty(model, power=3), r"power=3: must be one of \(1, 2\)"),  # type: ignore[arg-type]
        (lambda _: WeightPenalty(nn.Tanh()), "no trainable parameters"),
        (lambda model: ProductNorm(model, (4,), power=0), r"power=0: must be one of \(1, 2\)"),  # type: ignore[arg-type]
        (lambda model: ProductNorm(model, (4,), iterations=0), "iterations=0: must be at least 1"),
        (lambda m: AdversarialTraining(m, F.mse_loss, radius=-1), "Invalid radius: -1"),
        (lambda m: AdversarialTraining(m, F.mse_loss, radius=1, norm="l1"), "Invalid norm: 'l1'"),  # type: ignore[arg-type]
        (lambda m: AdversarialTraining(m, F.mse_loss, radius=1, steps=0), "steps=0: must be at"),
        (lambda m: AdversarialTraining(m, F.mse_loss, radius=1, step_size=0), "Invalid step_size"),
        (lambda m: AdversarialTraining(m, F.mse_loss, radius=1, share=0), r"share=0.*\(0, 1\]"),
        (
            lambda m: AdversarialTraining(m, F.mse_loss, radius=1, value_range=(1, 1)),
            r"value_range=\(1, 1\): must be two numbers",
        ),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build(smooth_network())


def test_norm_of_a_matrix_is_what_the_product_uses():
    layer = nn.Linear(7, 5).double()
    assert ProductNorm(layer, (7,))().item() == pytest.approx(norm(layer.weight.detach()))
    (gradient,) = gradients(ProductNorm(layer, (7,))(), nn.ParameterList([layer.weight]))  # type: ignore[arg-type]
    assert norm(gradient) == pytest.approx(1)
