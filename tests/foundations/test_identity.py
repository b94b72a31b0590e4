"""Run identity: what changes the hash, what does not, and that it never drifts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bregbench.foundations.identity import config_hash, identity, to_plain
from bregbench.schema.compose import compose
from bregbench.schema.plain import from_plain
from tests.places import ROOT

#: Hashes that committed records rely on. A change here orphans every record made before it: add a new
#: field with a default that means "as before" instead.
GOLDEN = {
    (): "dfc08ef5",
    ("dataset=mnist", "method=linbreg", "method.lam=0.01"): "a573b8c2",
    ("dataset=fashion_mnist", "model=cnn", "method=adabreg", "method/penalty=kernels"): "d7e20c71",
    ("dataset=cifar10", "model=resnet18", "method=sgd", "trainer/schedule=cosine"): "40336cec",
    ("method=sgd", "objective=lasso", "trainer.precision=bf16"): "5de86484",
    # Rules in a list are hashed with their defaults: a new field of theirs would change this.
    ("method=linbreg", "method.penalty.first=[{kind:none,name:linear1.weight}]"): "b0ecfd76",
}


@pytest.mark.parametrize("overrides", GOLDEN, ids=" ".join)
def test_hashes_are_frozen(overrides):
    assert config_hash(compose(*overrides)) == GOLDEN[overrides]


@pytest.mark.parametrize(
    "override",
    [
        "seed=5",
        "runs_dir=elsewhere",
        "experiment_name=other",
        "trainer.threads=2",
        "trainer.device=cpu",
        "trainer.checkpoint_minutes=1",
        "tracking=none",
        "data.root=/somewhere",
        "data.download=true",
        "evaluators=[accuracy]",
        # Written out, but equal to the default.
        "trainer.epochs=100",
        "trainer/schedule=constant",
        "method.start.density=0.01",
    ],
)
def test_hash_ignores_what_does_not_change_the_result(override):
    assert config_hash(compose(override)) == config_hash(compose())


@pytest.mark.parametrize(
    "override",
    [
        "method.lr=0.05",
        "method.lam=0.2",
        "method.start.density=0.02",
        "method/penalty=rows",
        "method.penalty.linear.scale=2",
        "objective=lasso",
        "trainer.epochs=99",
        "trainer.batch_size=64",
        "trainer.precision=bf16",
        "trainer.max_steps=10",
        "trainer/schedule=cosine",
        "model.hidden=[200,81]",
        "dataset=mnist",
        "data.normalise=half",
        "data.limit=100",
        "data.split_seed=1",
    ],
)
def test_hash_sees_what_changes_the_result(override):
    assert config_hash(compose(override)) != config_hash(compose())


def test_identity_leaves_defaults_out():
    assert identity(compose("method.lam=0.3")) == identity(compose()) | {
        "method": {"kind": "linbreg", "lam": 0.3}
    }


def test_every_committed_record_has_its_hash():
    records = ROOT / "results" / "records"
    folders = {path.parent.parent: path for path in records.rglob("config.json")}
    assert folders
    for folder, path in folders.items():
        config = from_plain(json.loads(path.read_text()))
        assert config_hash(config) == folder.name.rpartition("-")[2], folder


def test_archive_enters_by_its_content(tmp_path):
    def archive(name: str, value: int) -> str:
        images = np.full((20, 4, 4), value, np.uint8)
        labels = np.arange(20) % 2
        np.savez(
            tmp_path / name,
            train_images=images,
            train_labels=labels,
            test_images=images,
            test_labels=labels,
        )
        return f"data.path={tmp_path / name}"

    first, copy, other = archive("a.npz", 1), archive("b.npz", 1), archive("c.npz", 2)
    hashes = [config_hash(compose("dataset=arrays", path)) for path in (first, copy, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    known = identity(compose("dataset=arrays", first), contents=False)
    assert known == identity(compose("dataset=arrays", other), contents=False)
    assert "fingerprint" not in known["data"]


@pytest.mark.parametrize("overrides", GOLDEN, ids=" ".join)
def test_config_survives_json(overrides):
    config = compose(*overrides)
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config
