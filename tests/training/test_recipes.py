import json
from dataclasses import asdict, replace

import pytest

from tensorpress.errors import TensorpressError
from tensorpress.training import PAPER, Recipe, recipes_for

PRINTED = {  # epochs, weight decay, lr drops, (fine-tuning lr, weight decay): the paper's section 4
    "tt_conv_cnn": (100, 0.0, (20, 40, 60, 80), (0.1, 0.0)),
    "vggnet": (200, 1e-4, (80, 120), (0.01, 1e-3)),
    "resnet56": (200, 1e-4, (100, 150), (0.1, 1e-4)),
    "resnet110": (200, 1e-4, (100, 150), (0.1, 1e-4)),
}


@pytest.mark.parametrize("network", PRINTED)
def test_recipes_are_the_papers(network):
    epochs, weight_decay, drops, finetune = PRINTED[network]
    recipes = PAPER[network]
    assert recipes.train == Recipe(epochs, 0.1, weight_decay, 0.9, "step", drops, 0.1, 128, False)
    assert (recipes.finetune.lr, recipes.finetune.weight_decay) == finetune
    assert (recipes.finetune.epochs, recipes.finetune.milestones) == (epochs, drops)


def test_lr_drops_at_each_milestone():
    recipe = PAPER["resnet56"].train
    rates = [recipe.lr_at(epoch) for epoch in (0, 99, 99.99, 100, 149, 150, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_cosine_falls_to_zero():
    recipe = Recipe(10, lr=0.2, schedule="cosine")
    assert [recipe.lr_at(epoch) for epoch in (0, 5, 10)] == pytest.approx([0.2, 0.1, 0.0])


@pytest.mark.parametrize(
    ("epochs", "milestones"), [(200, (80, 120)), (20, (8, 12)), (5, (2, 3)), (0, (0, 0))]
)
def test_milestones_scale_with_the_epochs(epochs, milestones):
    assert PAPER["vggnet"].train.scaled(epochs).milestones == milestones


def test_changes_go_on_top_of_the_scaling():
    recipe = PAPER["resnet56"].train.changed(epochs=20, lr=0.02, batch_size=64)
    assert (recipe.epochs, recipe.milestones) == (20, (10, 15))
    assert (recipe.lr, recipe.batch_size, recipe.weight_decay) == (0.02, 64, 1e-4)


def test_another_kind_of_optimiser_wants_a_rate():
    ours = recipes_for("resnet56").finetune
    with pytest.raises(TensorpressError, match=r"optimizer is sgd without a learning rate.*0\.1"):
        ours.changed(optimizer="sgd")
    assert ours.changed(optimizer="sgd", lr=0.05).lr == 0.05
    assert ours.changed(optimizer="adamw").lr == ours.lr
    assert ours.changed(optimizer="sgd", epochs=0).optimizer == "sgd"
    with pytest.raises(TensorpressError, match=r"optimizer is .lion. .* it must be sgd or adamw"):
        ours.changed(optimizer="lion")


def test_other_networks_get_a_short_recipe():
    assert recipes_for("my.module:net").train.epochs <= 20


@pytest.mark.parametrize("network", [*PRINTED, "my.module:net"])
def test_ours_fine_tunes_for_as_long_as_the_papers(network):
    ours, papers = recipes_for(network), recipes_for(network, paper=True)
    assert ours.train == papers.train
    assert ours.finetune.epochs == papers.finetune.epochs
    assert ours.finetune.milestones == papers.finetune.milestones
    assert (ours.finetune.optimizer, papers.finetune.optimizer) == ("muon", "sgd")


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": -1},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"weight_decay": -1e-4},
        {"weight_decay": float("inf")},
        {"momentum": 1.0},
        {"batch_size": 0},
        {"schedule": "linear"},
        {"nesterov": True, "momentum": 0.0},
        {"mixup": -0.1},
        {"mixup": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting):
    with pytest.raises(TensorpressError, match=next(iter(setting))):
        Recipe(**{"epochs": 1, **setting})


def test_a_recipe_comes_back_from_json_whatever_an_older_version_did_not_know():
    recipe = Recipe(5, milestones=(2, 3.5), mixup=0.4)
    settings = json.loads(json.dumps(asdict(recipe)))
    assert Recipe.from_dict(settings) == recipe
    del settings["mixup"]
    assert Recipe.from_dict(settings) == replace(recipe, mixup=0.0)
