"""The frontier tables: equal budgets, every density asked for, and choices that belong to the rows."""

from __future__ import annotations

import pytest

from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.runs.workplace import Workplace
from bregbench.tables.elements import MOST_TRIALS
from bregbench.tables.tuning import read_trials
from tests.places import ROOT

TABLES = ["frontier_mnist", "frontier_fashion", "frontier_lenet5"]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_the_same_number_of_trials(name):
    table = load_table(name)
    assert len(table.rows) >= 20
    assert {len(row.tuning) for row in table.rows.values()} == {MOST_TRIALS}
    assert table.bundle


@pytest.mark.parametrize("name", TABLES)
def test_every_sparse_row_asks_for_the_density_of_its_part(name):
    table = load_table(name)
    for label, row in table.rows.items():
        for part, detail in table.details.items():
            for trial in row.tuning:
                overrides = table.overrides(label, part, trial)
                assert not any("<" in override for override in overrides)
                asked = {
                    key.rpartition(".")[2]
                    for key, _, value in (text.partition("=") for text in overrides)
                    if value == detail.values["density"] and key.endswith("density")
                }
                # "start.density" is where a run begins, and no wish.
                assert bool(asked) != (label in ("SGD", "Adam")), (label, part)


def test_a_row_of_each_kind_composes_in_every_part():
    place = Workplace()
    for name in TABLES:
        table = load_table(name)
        for label in ("LinBreg", "DessiLBI", "xRDA"):
            for part in table.parts:
                config = table.config_with(table.rows[label].tuning[0], label, 0, place, part=part)
                config.check_order()
                assert config.experiment_name == name


@pytest.mark.parametrize("name", TABLES)
def test_committed_choices_are_of_the_rows_as_they_are(name):
    table, place = load_table(name), Workplace(results=ROOT / "results")
    for trial in read_trials(table.trials_of(place)).values():
        number = table.rows[trial.row].tuning.index(list(trial.overrides))
        assert table.trial_config(trial.row, number, place).run_name.hash == trial.hash, trial


def test_a_table_can_say_what_another_says(monkeypatch):
    ours, base = load_table("frontier_fashion"), load_table("frontier_mnist")
    assert (ours.rows, ours.details, ours.parts) == (base.rows, base.details, base.parts)
    assert (ours.name, ours.common[0]) == ("frontier_fashion", "dataset=fashion_mnist")
    with pytest.raises(BenchError, match="no_such is unknown"):
        load_table("no_such")
