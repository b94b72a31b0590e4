"""Configs put together from pieces are those that Hydra composes."""

from __future__ import annotations

from importlib import resources

import pytest

from bregbench.figures.specs import load_table
from bregbench.foundations import console
from bregbench.schema import pieces
from bregbench.schema.compose import compose
from bregbench.schema.pieces import compose_from_pieces, forget, prepare

NAMES = sorted(
    file.name.removesuffix(".yaml")
    for group in ("table", "figure")
    for file in (resources.files("bregbench.configs") / group).iterdir()
    if file.name.endswith(".yaml")
)


def same(*overrides: str) -> None:
    ours, reference = compose_from_pieces(*overrides), compose(*overrides)
    assert ours == reference
    # Also the types: 1 == 1.0 == True.
    assert repr(ours) == repr(reference)


@pytest.mark.parametrize("name", NAMES[::9])
def test_a_row_of_some_tables(name):
    every = load_table(name).all_overrides()
    if every:
        same(*every[len(every) // 2])


@pytest.mark.slow
def test_many_rows_of_all_tables():
    every = [overrides for name in NAMES for overrides in load_table(name).all_overrides()]
    prepare(every, lambda line: None)
    for overrides in every[::17]:
        same(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("seed=3", "experiment_name='a b'", "runs_dir=x"),
        ("method.lam=0.5", "method=adabreg", "method.lr=1", "method.lr=2"),
        ("method=sgd", "method=adam"),
        ("evaluators=[]",),
        ("evaluators=[lipschitz,accuracy]", "evaluators.lipschitz.images=7"),
        ("model.hidden=[4,5]", "model.hidden=[6]"),
        ("phases=gradual_pruning", "phases.prune.begin.density=0.25"),
        ("phases=filter_pruning", "phases.prune.method.lr=0.5", "trainer/schedule=cosine"),
        ("trainer.epochs=7", "experiment_name=${trainer.epochs}"),
        ("method=prox_sgd", "method.penalty={linear:{kind:l12,group:row}}"),
    ],
    ids=" ".join,
)
def test_overrides_of_many_kinds(overrides):
    same(*overrides)


@pytest.mark.parametrize(
    "override",
    ["method.lrr=0.1", "method=nosuch", "trainer.epochs=-1", "trainer.epochs=few", "nosuch=1", "=",
     "method@nosuch=sgd", "seed=1,2", "~method", "evaluators.robustness.images=3"],
)  # fmt: skip
def test_mistakes_are_told_in_the_same_words(override):
    with pytest.raises(Exception) as reference:
        compose(override)
    with pytest.raises(type(reference.value)) as ours:
        compose_from_pieces(override)
    assert str(ours.value) == str(reference.value)


def test_choices_and_values_of_one_run_leave_no_trace_in_the_next():
    first = compose_from_pieces("method.lam=0.5", "evaluators=[accuracy]")
    first.evaluators.clear()
    first.trainer.epochs = 9
    assert compose_from_pieces("evaluators=[accuracy]") == compose("evaluators=[accuracy]")
    assert compose_from_pieces() == compose()


def test_many_runs_are_prepared_in_few_compositions(monkeypatch):
    forget()
    composed = []
    whole = pieces.hydra.compose
    monkeypatch.setattr(pieces.hydra, "compose", lambda *given: composed.append(1) or whole(*given))
    runs = [
        (f"method={method}", f"model={model}", f"method.lr={lr}")
        for method in ("sgd", "adam")
        for model in ("mlp", "lenet5", "cnn")
        for lr in (0.1, 0.2)
    ]
    told: list[str] = []
    prepare(runs, told.append)
    found = [compose_from_pieces(*run) for run in runs]
    assert len(composed) == len(told) == 3
    assert {(c.method.kind, c.model.kind, c.method.lr) for c in found} == {  # type: ignore[attr-defined]
        (method, model, lr)
        for method in ("sgd", "adam")
        for model in ("mlp", "lenet5", "cnn")
        for lr in (0.1, 0.2)
    }


def test_patience_speaks_every_two_seconds(monkeypatch):
    said: list[str] = []
    clock = iter([0.0, 0.5, 1.9, 2.0, 3.9, 7.0])
    monkeypatch.setattr(console, "say", said.append)
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    patience = console.Patience()
    for number in range(5):
        patience.say(str(number))
    assert said == ["2", "4"]
