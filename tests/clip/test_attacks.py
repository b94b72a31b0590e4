"""Attacks against closed forms on linear classifiers, and their promises on others."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from bregbench.models import Mlp
from clip.attacks import auto_pgd, fgsm, gaussian_noise, paper_pgd, pgd, robust_accuracy, strong
from clip.balls import project, random_perturbations
from tests.clip.cases import class_means, train

RADII = [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]


def linear_problem(classes: int = 2) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    model = nn.Linear(5, classes, dtype=torch.float64)
    points = torch.randn(200, 5, dtype=torch.float64)
    return model, points, torch.randint(classes, (200,))


def margins(model: nn.Linear, points: torch.Tensor, labels: torch.Tensor, order: float):
    """Distance of each point to the nearest other class in the norm whose dual has the order.

    Negative for points that are misclassified.
    """
    with torch.no_grad():
        logits = model(points)
        gaps = logits.gather(1, labels[:, None]) - logits
        weights = model.weight[labels][:, None] - model.weight[None]
        distances = gaps / torch.linalg.vector_norm(weights, ord=order, dim=2)
        return distances.scatter(1, labels[:, None], float("inf")).amin(dim=1)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    images, labels = class_means(96, side=8)
    model = Mlp(hidden=[32]).build(input_shape=(1, 8, 8), classes=10)
    train(model, images, labels, steps=40)
    return model, images, labels


@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_two_class_linear_model_meets_the_closed_form(norm, dual, loss):
    model, points, labels = linear_problem()
    attack = partial(pgd, norm=norm, loss=loss, steps=20, value_range=None)
    found = robust_accuracy(model, points, labels, radii=RADII, attack=attack)
    distances = margins(model, points, labels, dual)
    for radius in RADII:
        assert found[radius] == pytest.approx(float((distances > radius).double().mean()))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_fgsm_is_optimal_for_two_linear_classes(norm):
    model, points, labels = linear_problem()
    settings = {"radii": RADII, "norm": norm, "value_range": None}
    one = fgsm(model, points, labels, **settings)
    many = pgd(model, points, labels, **settings)
    for radius in RADII:
        assert torch.equal(one.broken[radius], many.broken[radius])


def test_fgsm_step_has_the_length_of_the_radius():
    model, points, labels = linear_problem()
    result = fgsm(model, points, labels, radii=[1e-6, 0.3], value_range=None)
    moved = ~result.broken[1e-6]
    steps = (result.images[0.3] - points)[moved].abs()
    torch.testing.assert_close(steps, torch.full_like(steps, 0.3))


def test_margin_loss_with_restarts_is_close_to_the_closed_form_for_many_classes():
    model, points, labels = linear_problem(classes=6)
    distances = margins(model, points, labels, 2)
    attack = partial(pgd, loss="margin", restarts=3, value_range=None)
    found = robust_accuracy(model, points, labels, radii=RADII, attack=attack)
    for radius in RADII:
        best = float((distances > radius).double().mean())
        assert best - 1e-12 <= found[radius] <= best + 0.02


@pytest.mark.parametrize("rule", ["sign", "gradient", None])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_ball_and_range_hold(trained, norm, rule):
    model, images, labels = trained
    radii = [0.1, 0.5, 2.0]
    result = pgd(model, images, labels, radii=radii, norm=norm, step_rule=rule, steps=5, restarts=2)
    for radius in radii:
        adversarial = result.images[radius]
        moved = (adversarial - images).flatten(1)
        lengths = torch.linalg.vector_norm(moved, ord=2 if norm == "l2" else float("inf"), dim=1)
        assert float(lengths.max()) <= radius * (1 + 1e-5)
        assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1
        with torch.no_grad():
            wrong = model(adversarial).argmax(dim=1) != labels
        assert torch.equal(wrong, result.broken[radius])


def test_robustness_falls_with_the_radius(trained):
    model, images, labels = trained
    found = robust_accuracy(
        model, images, labels, radii=[2.0, 0.0, 0.5, 0.1], attack=partial(pgd, steps=10)
    )
    assert list(found) == [0.0, 0.1, 0.5, 2.0]
    values = list(found.values())
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9 > 0.3 > values[-1]
    with torch.no_grad():
        clean = float((model(images).argmax(dim=1) == labels).float().mean())
    assert values[0] == pytest.approx(clean)


def test_broken_stays_broken(trained):
    model, images, labels = trained
    # A step size that is right for one radius alone: the others are worse than useless.
    result = pgd(model, images, labels, radii=[0.3, 0.6, 40.0], step_size=0.05, steps=3)
    assert bool((result.broken[0.6] | ~result.broken[0.3]).all())
    assert bool((result.broken[40.0] | ~result.broken[0.6]).all())


def test_images_that_hold_are_the_worst_found(trained):
    model, images, labels = trained
    result = pgd(model, images, labels, radii=[0.2], steps=10)
    holds = ~result.broken[0.2]
    with torch.no_grad():
        before, after = model(images).softmax(1), model(result.images[0.2]).softmax(1)
    right = labels[:, None]
    assert bool((after.gather(1, right) <= before.gather(1, right) + 1e-6)[holds].all())
    assert not torch.equal(result.images[0.2], images)


def test_restarts_only_help(trained):
    model, images, labels = trained
    broken = [
        int(pgd(model, images, labels, radii=[0.5], steps=3, restarts=n).broken[0.5].sum())
        for n in (1, 2, 4)
    ]
    assert broken == sorted(broken)


def test_clean_errors_are_broken_at_every_radius():
    model, points, labels = linear_problem()
    with torch.no_grad():
        wrong = model(points).argmax(dim=1) != labels
    result = pgd(model, points, labels, radii=[0.0, 1e-9], steps=2, value_range=None)
    for radius in (0.0, 1e-9):
        assert torch.equal(result.broken[radius], wrong)
        assert torch.equal(result.images[radius][wrong], points[wrong])


def test_paper_attack_is_weaker_than_pgd(trained):
    model, images, labels = trained
    radii = [0.2, 0.4, 0.6]
    paper = robust_accuracy(model, images, labels, radii=radii, attack=paper_pgd)
    strong = robust_accuracy(model, images, labels, radii=radii, attack=pgd)
    assert all(strong[radius] <= paper[radius] for radius in radii)
    assert sum(strong.values()) < sum(paper.values())


def test_paper_attack_has_the_papers_settings(trained):
    model, images, labels = trained
    named = paper_pgd(model, images, labels)
    spelled = pgd(
        model,
        images,
        labels,
        radii=[2.0],
        norm="l2",
        step_rule="sign",
        step_size=0.25,
        steps=100,
        value_range=None,
    )
    assert torch.equal(named.images[2.0], spelled.images[2.0])


def test_batches_do_not_matter(trained):
    model, images, labels = trained
    for attack in (pgd, fgsm, paper_pgd):
        small = robust_accuracy(model, images, labels, radii=[0.3], attack=attack, batch_size=7)
        assert small == robust_accuracy(model, images, labels, radii=[0.3], attack=attack)


def test_randomness_comes_from_the_generator(trained):
    model, images, labels = trained

    def attacked(seed):
        generator = torch.Generator().manual_seed(seed)
        found = pgd(model, images, labels, radii=[0.2], steps=1, restarts=2, generator=generator)
        return found.images[0.2]

    state = torch.get_rng_state()
    assert torch.equal(attacked(1), attacked(1))
    assert not torch.equal(attacked(1), attacked(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_model_is_left_as_it_was(trained):
    _, images, labels = trained
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        robust_accuracy(model, images, labels, radii=[0.1], attack=partial(pgd, steps=2))
    with torch.inference_mode():
        robust_accuracy(model, images, labels, radii=[0.1], attack=partial(pgd, steps=2))
    assert [module.training for module in model] == [True, False, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_projection_is_the_nearest_point():
    inside, outside = torch.tensor([[0.3, 0.4]]), torch.tensor([[3.0, 4.0]])
    assert torch.equal(project(inside, 1.0, "l2"), inside)
    torch.testing.assert_close(project(outside, 1.0, "l2"), torch.tensor([[0.6, 0.8]]))
    assert torch.equal(project(outside, 3.5, "linf"), torch.tensor([[3.0, 3.5]]))
    assert torch.equal(project(torch.zeros(1, 2), 0.5, "l2"), torch.zeros(1, 2))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_random_points_fill_the_ball(norm):
    images = torch.zeros(4000, 2)
    points = random_perturbations(images, 2.0, norm, torch.Generator().manual_seed(0))
    lengths = torch.linalg.vector_norm(points, ord=2 if norm == "l2" else float("inf"), dim=1)
    assert float(lengths.max()) <= 2 * (1 + 1e-6)
    # Half the radius holds a quarter of the area.
    assert float((lengths < 1).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert points.mean(dim=0).tolist() == pytest.approx([0, 0], abs=0.06)


def test_gaussian_noise():
    images = torch.full((4, 1, 50, 50), 0.5, dtype=torch.float64)
    free = gaussian_noise(images, 1.0, torch.Generator().manual_seed(0), clamp=None)
    assert free.dtype == images.dtype
    assert float((free - images).std()) == pytest.approx(1, abs=0.02)
    cut = gaussian_noise(images, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(cut, free.clamp(0, 1))
    with pytest.raises(ValueError, match="std=-1"):
        gaussian_noise(images, -1, torch.Generator())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l1"}, r"Invalid norm: 'l1' \(must be one of l2, linf\)"),
        ({"step_rule": "up"}, "Invalid step_rule: 'up'"),
        ({"loss": "mse"}, "Invalid loss: 'mse'"),
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"restarts": 0}, "restarts=0: must be at least 1"),
        ({"step_size": -1.0}, "step_size=-1.0: must be positive"),
        ({"radii": []}, r"radii=\[\]: expected at least one"),
        ({"radii": [-1.0]}, r"radii=\[-1.0\]: expected at least one, none negative"),
        ({"value_range": (0.0, 0.5)}, r"images lie in \[0, 1\], outside value_range=\(0.0, 0.5\)"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels \(n,\), got \(2, 2\) and \(3,\)"),
        ({"labels": torch.tensor([0, 2])}, r"labels lie in 0\.\.2 and the model has 2 classes"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels are torch.float32: must be int64"),
        ({"images": torch.full((2, 2), float("nan"))}, "2 of 2 images hold NaN or infinity"),
        ({"model": nn.Linear(2, 1)}, r"must return logits \(n, classes\), got shape \(2, 1\)"),
    ],
)
def test_settings_out_of_range(settings, message):
    settings = {
        "model": nn.Linear(2, 2),
        "images": torch.tensor([[0.0, 1.0], [1.0, 0.5]]),
        "labels": torch.tensor([0, 1]),
        "radii": [0.5],
        **settings,
    }
    attacks = [pgd]
    if not {"step_rule", "loss", "step_size"} & set(settings):
        attacks += [auto_pgd, strong]
    for attack in attacks:
        with pytest.raises(ValueError, match=message):
            attack(**settings)


def test_no_images():
    with pytest.raises(ValueError, match="there must be images"):
        robust_accuracy(nn.Linear(2, 2), torch.zeros(0, 2), torch.zeros(0).long(), radii=[1.0])


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pgd_is_as_strong_as_foolbox(trained, norm):
    foolbox = pytest.importorskip("foolbox")
    model, images, labels = trained
    radii = [0.1, 0.3, 0.5] if norm == "l2" else [0.01, 0.03, 0.05]
    kind = foolbox.attacks.L2PGD if norm == "l2" else foolbox.attacks.LinfPGD
    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    # Reproducible start: theirs is random unless it is switched off.
    attack = kind(steps=100, random_start=False)
    _, _, theirs = attack(wrapped, images, labels, epsilons=radii)
    ours = pgd(model, images, labels, radii=radii, norm=norm)
    for radius, broken in zip(radii, theirs, strict=True):
        difference = int(ours.broken[radius].sum()) - int(broken.sum())
        assert difference >= -1
        assert abs(difference) <= 5
