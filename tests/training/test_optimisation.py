"""Optimisers and learning rates against numbers worked out by hand, and against torch's plain ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dinoseg.config import TrainSettings
from dinoseg.methods.presets import preset
from dinoseg.training.learning.optimisation import create_optimizer, create_schedule


def rates(steps: int, **settings: Any) -> list[float]:
    recipe = TrainSettings(**settings)
    factor = create_schedule(recipe, steps)
    return [factor(step) for step in range(recipe.epochs * steps)]


def test_constant() -> None:
    assert rates(2, epochs=3, schedule="constant") == [1.0] * 6
    warm = rates(2, epochs=3, schedule="constant", warmup_epochs=1)
    assert warm == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 1.0])


def test_cosine_changes_every_step() -> None:
    expected = [1.0, 0.9330127, 0.75, 0.5, 0.25, 0.0669873]
    assert rates(2, epochs=3, schedule="cosine") == pytest.approx(expected)
    warm = rates(2, epochs=4, schedule="cosine", warmup_epochs=2)
    assert warm == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.8535534, 0.5, 0.1464466])


def test_poly_changes_every_epoch() -> None:
    """(1 - epoch / 4)^0.9 of epochs 0 to 3, by hand: exp(0.9 ln 0.75) and so on."""
    by_epoch = [1.0, 0.7718895, 0.5358867, 0.2871746]
    assert rates(3, epochs=4, schedule="poly") == pytest.approx([each for each in by_epoch for _ in range(3)])
    warm = rates(2, epochs=6, schedule="poly", warmup_epochs=2)
    expected = [0.25, 0.5, 0.75, 1.0, *(each for each in by_epoch for _ in range(2))]
    assert warm == pytest.approx(expected)
    assert create_schedule(TrainSettings(epochs=4, schedule="poly"), 3)(12) == 0.0


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 1e-3), (1, 0.9954988731e-3), (100, 0.5358867313e-3), (199, 0.0084932323e-3)]
)
def test_rates_of_the_published_dino_unet(epoch: int, rate: float) -> None:
    """200 epochs of 250 steps: the rate of an epoch's first and last step."""
    recipe = preset("paper", "dino-unet")
    factor = create_schedule(recipe, recipe.steps_per_epoch or 0)
    for step in (250 * epoch, 250 * epoch + 249):
        assert recipe.lr * factor(step) == pytest.approx(rate, rel=1e-7)


def test_a_warm_up_longer_than_the_run_is_cut_off() -> None:
    assert rates(2, epochs=1, warmup_epochs=2) == pytest.approx([0.25, 0.5])
    assert rates(2, epochs=1, warmup_epochs=2, schedule="poly") == pytest.approx([0.25, 0.5])


def walk(gradients: list[float], **settings: Any) -> list[float]:
    """The weight, 1 at first, after each step along given gradients."""
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = create_optimizer([weight], TrainSettings(**settings))
    seen = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        seen.append(float(weight.detach()))
    return seen


def test_sgd_steps_by_hand() -> None:
    """Nesterov: the step is g + m b with b the sum of gradients, older ones fading by m; decay is in g."""
    first = 1 - 0.1 * (0.5 + 0.8 * 0.5)
    assert walk([0.5], optimizer="sgd", lr=0.1, momentum=0.8, weight_decay=0) == pytest.approx([first])
    b = 0.8 * 0.5 + -1.0
    second = first - 0.1 * (-1.0 + 0.8 * b)
    assert walk([0.5, -1.0], optimizer="sgd", lr=0.1, momentum=0.8, weight_decay=0) == pytest.approx(
        [first, second]
    )
    decayed = 1 - 0.1 * (0.7 + 0.8 * 0.7)  # 0.5 + 0.2 * 1
    assert walk([0.5], optimizer="sgd", lr=0.1, momentum=0.8, weight_decay=0.2) == pytest.approx([decayed])
    plain = walk([0.5, -1.0], optimizer="sgd", lr=0.1, momentum=0, weight_decay=0)
    assert plain == pytest.approx([0.95, 1.05])


def test_adam_adds_the_decay_to_the_gradient_and_adamw_does_not() -> None:
    """The first step of either is the rate, in the direction of the gradient."""
    settings = {"lr": 0.1, "weight_decay": 0.5}
    assert walk([1e-3], optimizer="adam", **settings) == pytest.approx([0.9], abs=1e-4)
    assert walk([1e-3], optimizer="adamw", **settings) == pytest.approx([1 - 0.1 * 0.5 - 0.1], abs=1e-4)
    # with the decay in it, this gradient points the other way
    assert walk([-0.1], optimizer="adam", **settings) == pytest.approx([0.9], abs=1e-4)
    assert walk([-0.1], optimizer="adamw", **settings) == pytest.approx([1 - 0.1 * 0.5 + 0.1], abs=1e-4)


def train_linear(optimizer: torch.optim.Optimizer, model: nn.Linear, pixels: Tensor) -> Tensor:
    for _ in range(5):
        optimizer.zero_grad()
        model(pixels).square().mean().backward()
        optimizer.step()
    return model.weight.detach()


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_steps_are_those_of_torchs_plain_loops(name: str) -> None:
    pixels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    settings = TrainSettings.model_validate({"optimizer": name, "lr": 0.05, "weight_decay": 0.1})
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    extra = {"momentum": 0.99, "nesterov": True} if name == "sgd" else {}
    plain = kinds[name](models[1].parameters(), lr=0.05, weight_decay=0.1, foreach=False, **extra)
    ours = train_linear(create_optimizer(models[0].parameters(), settings), models[0], pixels)
    torch.testing.assert_close(ours, train_linear(plain, models[1], pixels))
