"""One check, before anything: every option is told its range, under the key that the user typed."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import math
import re
import typing
from enum import Enum

import pytest
import yaml

from bregbench.data import Digits
from bregbench.evaluators import Accuracy, Cost
from bregbench.foundations.errors import BenchError
from bregbench.foundations.ranges import check_layers
from bregbench.methods.torch_optimizers import Sgd
from bregbench.models import Mlp
from bregbench.objectives import Plain
from bregbench.phases.base import PhaseConfig
from bregbench.runs.train import train
from bregbench.schema.check import check_tree, walk
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.schema.groups import GROUPS
from bregbench.schema.trainer import TrainerConfig
from bregbench.storage.tracking import NoTracking
from bregbench.tasks.base import Classification

#: numbers of which every finite value has a meaning
ANY = {
    ("PhaseConfig", "order"),
    ("Curve", "points"),
    # An interval: only its upper end is compared, with the lower one.
    ("PairsConfig", "low"),
}

EXPLICIT = ("method=lifted", "method/solver=explicit_implicit")
#: overrides, of which the last one is refused under its own key
REFUSED = [
    ["seed=-1"],
    ["data.limit=0"],
    ["data.validation=-1"],
    ["data.split_seed=-1"],
    ["data.split_seed=9223372036854775808"],
    ["dataset=arrays", "data.classes=0"],
    ["dataset=arrays", "data.classes=1000000000"],
    ["dataset=image_folder", "data.size=0"],
    ["dataset=imagenet", "data.size=1000000000"],
    ["dataset=imagenet", "data.workers=1000000000"],
    ["dataset=gap_function", "data.points=2"],
    ["dataset=gap_function", "data.noise=-1"],
    ["dataset=gap_function", "data.limit=5"],
    ["dataset=gap_function", "data.points=1000000", "data.repeats=1000000"],
    ["task=denoise", "task.noise=-0.1"],
    ["task=denoise", "task.noise=inf"],
    ["model=mlp", "model.hidden=[1000000000]"],
    ["model=mlp", "model.hidden=[100000,100000]"],
    ["model=mlp", "model.hidden=[16,0]"],
    ["model=mlp_autoencoder", "model.code_layer=6"],
    ["model=mlp_autoencoder", "model.code_layer=-1"],
    ["model=mlp_autoencoder", "model.code_threshold=nan"],
    ["model=cnn", "model.kernel_size=0"],
    ["model=cnn", "model.channels=[1000000,1000000]"],
    ["model=resnet18", "model.width=100000"],
    ["model=vgg16", "model.hidden=1000000"],
    ["model=vgg16", "model.widths=[64,64]"],
    ["model=alexnet", "model.hidden=0"],
    ["model=cnn_circular", "model.pool=0"],
    ["model=fno", "model.modes=1000000"],
    ["model=fno", "model.hidden=1000000000"],
    ["model=spectral_resnet18", "model.stem_kernel=0"],
    ["model=spectral_resnet18", "model.modes=10000"],
    ["model=resnet_cifar", "model.depth=1000000004"],
    ["model=resnet_cifar", "model.widths=[16,32,1000000]"],
    ["method=sgd", "method.momentum=1.5"],
    ["method=sgd", "method.dampening=-1"],
    ["method=sgd", "method.weight_decay=-1"],
    ["method=sgd", "method.nesterov=true"],
    ["method=adam", "method.beta1=1"],
    ["method=radam", "method.beta2=-0.1"],
    ["method=adagrad", "method.lr_decay=-1"],
    ["method=prox_sgd", "method.momentum=1"],
    ["method=linbreg", "method.lam=inf"],
    ["method=linbreg", "method.delta=nan"],
    ["method=linbreg", "method.delta=0"],
    ["method=linbreg", "method.start.density=0"],
    ["method=linbreg", "method.start.bias_scale=-inf"],
    ["method=linbreg", "method.cut.threshold=-1"],
    ["method=linbreg", "method.penalty.conv.scale=-1"],
    ["method=linbreg", "method.penalty.conv.dims=[0,9]"],
    ["method=adabreg", "method.eps=-1"],
    ["method=sgd", "method.recalibrate=-1"],
    ["method=linbreg", "method.density.until=2"],
    ["method=linbreg", "method.density.interval=0"],
    ["method=linbreg", "method.healing.epochs=-1"],
    ["method=adabreg", "method.birth_lr=-1"],
    ["method=grda", "method.mu=1"],
    ["method=rmda", "method.averaging=0"],
    ["method=ramda", "method.eps=0"],
    ["method=xrda", "method.boost=0"],
    ["method=rigl", "method.density=0"],
    ["method=rigl", "method.alpha=2"],
    ["method=set", "method.momentum=0", "method.nesterov=true"],
    ["method=gmp", "method.begin=0.9"],
    ["method=granet", "method.density=0.6", "method.initial_density=0.5"],
    ["method=snip", "method.rounds=0"],
    ["method=str", "method.logit=11"],
    ["method=spred", "method.ratio=1"],
    ["dataset=phantom_digits", "data.phantoms=0"],
    ["method=dessilbi", "method.nu=0"],
    ["method=dessilbi", "method.scaling_floor=1"],
    ["method=dessilbi", "method.nesterov=true"],
    ["method=lifted", "method.layer_lam=[1,0]"],
    ["method=lifted", "method.multiplier_rate=0"],
    ["method=lifted", "method.code.layer=-1"],
    ["method=lifted", "method.solver.step_scale=2"],
    ["method=lifted", "method.solver.rho=-1"],
    [*EXPLICIT, "method.solver.lam=1"],
    [*EXPLICIT, "method.solver.optimizer=sgd", "method.solver.tau=1"],
    [*EXPLICIT, "method.solver.optimizer_steps=0"],
    ["method=lifted", "method/solver=stored_stochastic", "method.solver.iterations=0"],
    ["method=lifted", "method/solver=proximal_gradient", "method.solver.momentum=1"],
    ["method=lifted", "method/solver=block_coordinate", "method.solver.delta=0"],
    ["method=lifted", "method/solver=back_propagation", "method.solver.lr=0"],
    ["objective=lasso", "objective.lam=-1"],
    ["objective=lasso", "objective.penalty.linear.scale=inf"],
    ["objective=clip", "objective.power=3"],
    ["objective=clip", "objective.rule.target=2"],
    ["objective=clip", "objective.rule.minimum=2", "objective.rule.maximum=1"],
    ["objective=clip", "objective.rule.target=0.9", "objective.rule.minimum=1", "objective.lam=0"],
    ["objective=clip", "objective.pairs.noise=0"],
    ["objective=clip", "objective.pairs.high=0"],
    ["objective=clip", "objective.pairs.refresh=0"],
    ["objective=clip", "objective.ascent.shrink=0"],
    ["objective=clip", "objective.ascent.accept=false", "objective.ascent.adapt=pair"],
    ["objective=weight_penalty", "objective.mu=-1"],
    ["objective=product_norm", "objective.power=0"],
    ["objective=adversarial", "objective.share=0"],
    ["trainer.checkpoint_minutes=inf"],
    ["trainer.snapshots=[-1]"],
    ["trainer.image_sizes=[1000000000]"],
    ["trainer.max_steps=0"],
    ["trainer.threads=1000000000"],
    ["trainer.schedule.factor=nan"],
    ["trainer/schedule=step", "trainer.schedule.milestones=[3,2]"],
    ["trainer/schedule=cosine", "trainer.schedule.final=2"],
    ["trainer/schedule=plateau", "trainer.schedule.patience=-1"],
    ["phases=lipschitz_chain", "phases.lam1.objective.lam=-1"],
    ["phases=lipschitz_chain", "phases.lam1.epochs=-1"],
    ["phases=weight_pruning", "phases.prune.method.lr=-1"],
    ["phases=weight_pruning", "phases.prune.schedule.factor=0"],
    ["phases=filter_pruning", "phases.prune.begin.cap=0"],
    ["phases=ticket_one_shot", "phases.ticket.begin.density=nan"],
    ["phases=growing", "phases.grow.repeat=1000000000"],
    ["phases=growing", "phases.grow.begin.threshold=0"],
    ["evaluators=[cost]", "evaluators.cost.repeats=0"],
    ["evaluators=[cost]", "evaluators.cost.batch_size=1000000000"],
    ["evaluators=[compaction]", "evaluators.compaction.repeats=0"],
    ["evaluators=[lipschitz]", "evaluators.lipschitz.images=0"],
    ["evaluators=[reconstruction]", "evaluators.reconstruction.train_images=-1"],
    ["evaluators=[feature_maps]", "evaluators.feature_maps.image=-1"],
    ["evaluators=[robustness]", "evaluators.robustness.noise=[-1]"],
    ["evaluators=[robustness]", "evaluators.robustness.radii=[inf]"],
    ["evaluators=[paper_robustness]", "evaluators.paper_robustness.radius=0"],
    ["evaluators=[strong_robustness]", "evaluators.strong_robustness.restarts=0"],
    ["evaluators=[curve]", "evaluators.curve.points=[nan]"],
    ["evaluators=[worst_pairs]", "evaluators.worst_pairs.pairs=0"],
    ["evaluators=[codes]", "evaluators.codes.layer=0"],
    ["evaluators=[resolution]", "evaluators.resolution.sizes=[1000000000]"],
    ["evaluators=[conversion]", "evaluators.conversion.modes=[0]"],
]


#: those of them that go all the way through the files
COMPOSED = (
    *("seed", "data.classes", "task.noise", "model.hidden", "method.lam", "method.delta"),
    *("method.penalty.conv.scale", "method.solver.delta", "objective.rule.target"),
    *("trainer.checkpoint_minutes", "trainer.schedule.final", "phases.lam1.objective.lam"),
    *("phases.prune.begin.cap", "evaluators.cost.repeats"),
)


def key_of(overrides: list[str]) -> str:
    return overrides[-1].partition("=")[0]


@functools.cache
def composed(*choices: str) -> Config:
    return compose(*choices)


def assign(config: typing.Any, override: str) -> None:
    """Set an option of a config, as an override does."""
    key, _, text = override.partition("=")
    *way, name = key.split(".")
    for step in way:
        config = config[step] if isinstance(config, dict) else getattr(config, step)
    now = getattr(config, name)
    if isinstance(now, Enum):
        value = type(now)[text]
    elif isinstance(now, str):
        value = text
    else:
        items = [to_value(item) for item in text.strip("[]").split(",")]
        value = items if text.startswith("[") else items[0]
    setattr(config, name, value)


def to_value(text: str) -> typing.Any:
    named = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
    return named[text] if text in named else yaml.safe_load(text)


@pytest.mark.parametrize("overrides", REFUSED, ids=" ".join)
def test_refused_under_the_key_that_was_typed(overrides):
    options = [override for override in overrides if "." in override.partition("=")[0]]
    config = copy.deepcopy(
        composed(*(o for o in overrides if o not in options and "seed" not in o))
    )
    for override in options or overrides:
        assign(config, override)
    with pytest.raises(BenchError) as caught:
        config.check()
    assert str(caught.value).startswith(f"{key_of(overrides)}="), caught.value


@pytest.mark.parametrize("overrides", [r for r in REFUSED if key_of(r) in COMPOSED], ids=" ".join)
def test_refused_when_composed(overrides):
    with pytest.raises(BenchError, match=f"^{re.escape(key_of(overrides))}=") as caught:
        compose(*overrides)
    assert "\n" not in str(caught.value)


def dataclasses_of_configs() -> dict[str, type]:
    """Every dataclass that a config may hold, by a readable name."""
    found: set[type] = set()

    def visit(kind: type) -> None:
        if kind in found:
            return
        found.add(kind)
        for hint in typing.get_type_hints(kind).values():
            for part in (hint, *typing.get_args(hint)):
                if inspect.isclass(part) and dataclasses.is_dataclass(part):
                    visit(part)

    for kind in (TrainerConfig, PhaseConfig, *(k for kinds in GROUPS.values() for k in kinds)):
        visit(kind)
    named = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in found}
    return dict(sorted(named.items()))  # processes that share the tests must agree on their order


KINDS = dataclasses_of_configs()


def numeric(hint: object) -> type | None:
    """`int` or `float` where options of this type, or lists of them, are numbers."""
    parts = {hint, *typing.get_args(hint)} - {type(None)}
    return next((kind for kind in (int, float) if kind in parts), None)


def candidate(kind: type) -> typing.Any:
    """A config of this kind at its defaults."""
    return PhaseConfig(epochs=1) if kind is PhaseConfig else kind()


NUMBERS = [
    pytest.param(kind, name, hint, id=f"{kind.__name__}.{name}")
    for _, kind in sorted(KINDS.items())
    for name, hint in typing.get_type_hints(kind).items()
    if typing.get_origin(hint) is not typing.ClassVar
    and numeric(hint) is not None
    and not inspect.isabstract(kind)
]


@pytest.mark.parametrize(("kind", "name", "hint"), NUMBERS)
def test_every_number_has_a_range_or_is_known_to_need_none(kind, name, hint):
    """A new option without a range fails here: give it one in `check`, or name it in ANY."""
    number = numeric(hint)
    assert number is not None
    value = -(10**12) if number is int else -1e300
    config = candidate(kind)
    setattr(config, name, [value] if typing.get_origin(hint) is list else value)
    if any((base.__name__, name) in ANY for base in kind.__mro__):
        check_tree(config, "here")
        return
    with pytest.raises(BenchError, match=rf"^here\.{name}="):
        check_tree(config, "here")


@pytest.mark.parametrize(("kind", "name", "hint"), NUMBERS)
def test_no_number_is_infinite(kind, name, hint):
    value = math.inf if numeric(hint) is float else 2**64
    config = candidate(kind)
    setattr(config, name, [value] if typing.get_origin(hint) is list else value)
    with pytest.raises(BenchError, match=rf"^here\.{name}="):
        check_tree(config, "here")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_defaults_pass(kind):
    if not inspect.isabstract(kind):
        check_tree(candidate(kind), "here")


def python_config(**changed) -> Config:
    """A whole config made without files."""
    return Config(
        **{
            "data": Digits(),
            "task": Classification(),
            "model": Mlp(),
            "method": Sgd(),
            "objective": Plain(),
            "tracking": NoTracking(),
            **changed,
        }
    )


def test_walk_meets_every_part_once():
    config = python_config(
        evaluators={"first": Accuracy(), "second": Cost()},
        phases={"a": PhaseConfig(epochs=1, method=Sgd())},
    )
    keys = [key for key, _ in walk(config, "")]
    assert len(keys) == len(set(keys))
    assert {
        *("", "data", "task", "model", "method", "method.start", "method.cut", "objective"),
        *("phases.a", "phases.a.method", "phases.a.method.start", "phases.a.method.cut"),
        *("trainer", "trainer.schedule", "evaluators.first", "evaluators.second", "tracking"),
    } == set(keys)


def test_configs_made_in_python_are_checked_before_anything_is_written(tmp_path):
    config = python_config(runs_dir=str(tmp_path / "runs"), evaluators={"twice": Cost(repeats=0)})
    with pytest.raises(BenchError, match=r"^evaluators\.twice\.repeats=0 is out of range"):
        train(config)
    assert not (tmp_path / "runs").exists()


def test_layers_of_as_many_weights_as_allowed_pass():
    check_layers("model.hidden", None, [2**13, 2**15])
    check_layers("model.hidden", None, [5])
    with pytest.raises(BenchError, match=r"a layer would have 268468224 weights"):
        check_layers("model.hidden", None, [2**13 + 1, 2**15])
