"""Settings: checked, changed by dotted keys, and the same after a round trip through YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from dinoseg.config import (
    AugmentationSettings,
    BackboneSettings,
    CacheSettings,
    PreprocessingSettings,
    Preset,
    Settings,
    TrainSettings,
    from_yaml,
    override,
    parse_assignments,
    to_yaml,
)
from dinoseg.errors import ConfigError
from dinoseg.methods import METHODS, decoder_settings
from dinoseg.methods.dino_unet.card import DinoUNetSettings
from dinoseg.methods.presets import preset, preset_preprocessing, preset_scales
from dinoseg.model.settings import ModelSettings, RunSettings

PRESETS = get_args(Preset)


def make_run(method: str = "segdino-v1", **changes: Any) -> RunSettings:
    model = ModelSettings(
        backbone=BackboneSettings(name="dinov3_vits16"),
        decoder=decoder_settings(method),
        classes={0: "background", 1: "Läsion 😀"},
    )
    return RunSettings(data=Path("data"), model=model, **changes)


def complaint(run: RunSettings, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        override(run, {key.replace("__", "."): value for key, value in changes.items()})
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_survives_yaml(name: str, method: str) -> None:
    run = make_run(
        method,
        preset=name,
        splits=Path("s.json"),
        shots=5,
        train=preset(name, method),
        cache=CacheSettings(folder=Path("cache"), limit_gb=0.5),
    )
    text = to_yaml(run)
    assert from_yaml(RunSettings, text) == run
    assert "Läsion 😀" in text


def test_yaml_keeps_small_numbers_and_ids() -> None:
    run = override(make_run(), {"train.lr": 1e-7, "model.backbone.layers": [1, 3]})
    back = from_yaml(RunSettings, to_yaml(run))
    assert back.train.lr == 1e-7
    assert back.model.backbone.layers == (1, 3)
    assert list(back.model.classes) == [0, 1]


def test_recipes_are_those_of_the_papers() -> None:
    """The numbers of METHODS.md that a typing error would hurt."""
    v1, v2 = preset("paper", "segdino-v1"), preset("paper", "segdino-v2")
    assert (v1.epochs, v1.batch_size, v1.lr, v1.weight_decay) == (50, 4, 1e-4, 1e-4)
    assert (v1.loss, v1.schedule, v1.augmentation) == ("cross_entropy", "constant", None)
    assert (v2.loss, v2.schedule, v2.weight_decay, v2.views) == ("cross_entropy", "constant", 0.01, 8)
    assert v2.augmentation == AugmentationSettings()
    default = preset("default", "segdino-v1")
    assert (default.loss, default.schedule, default.keep) == ("dice_cross_entropy", "cosine", "best")
    assert default.augmentation is not None
    assert default.views > 1


def test_recipe_of_dino_unet() -> None:
    recipe = preset("paper", "dino-unet")
    assert (recipe.optimizer, recipe.momentum, recipe.lr, recipe.weight_decay) == ("sgd", 0.99, 1e-3, 3e-5)
    assert (recipe.schedule, recipe.warmup_epochs, recipe.loss) == ("poly", 0, "dice_cross_entropy")
    assert (recipe.epochs, recipe.steps_per_epoch, recipe.gradient_clip) == (200, 250, 12.0)
    assert recipe.keep == "last"
    assert recipe.augmentation is not None
    assert recipe.feature_augmentation is None
    assert decoder_settings("dino-unet") == DinoUNetSettings(deep_supervision=False)


def test_recipe_of_dino_augseg() -> None:
    recipe = preset("paper", "dino-augseg")
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay) == ("adam", 1e-4, 0.0)
    assert (recipe.schedule, recipe.loss) == ("constant", "half_dice_half_cross_entropy")
    assert (recipe.epochs, recipe.steps_per_epoch, recipe.batch_size) == (2000, None, 2)
    assert (recipe.augmentation, recipe.keep) == (None, "last")
    assert recipe.feature_augmentation == "wavelet"
    assert (recipe.wavelet_probability, recipe.wavelet_drop) == (0.7, 0.3)


@pytest.mark.parametrize("method", METHODS)
def test_paper_has_the_published_size_and_default_has_one(method: str) -> None:
    assert preset_preprocessing("paper", method).size == METHODS[method].size
    card = METHODS[method]
    assert preset_preprocessing("default", method).size == (320 if card.published else card.size)


def test_what_was_never_published_has_one_recipe_in_both_presets() -> None:
    (ours,) = (name for name in METHODS.ours if not METHODS[name].published)
    assert preset("default", ours) == preset("paper", ours) == METHODS[ours].recipe
    assert preset_scales("default", ours) == preset_scales("paper", ours) == METHODS[ours].scales != (1.0,)
    assert preset_scales("default", "segdino-v1") == preset_scales("paper", "segdino-v1") == (1.0,)


def test_published_sizes_are_those_of_the_papers() -> None:
    sizes = {name: METHODS[name].size for name in ("segdino-v1", "segdino-v2", "dino-unet", "dino-augseg")}
    assert sizes == {"segdino-v1": 256, "segdino-v2": 256, "dino-unet": 512, "dino-augseg": 768}


def test_features_are_augmented_on_request_only() -> None:
    asking = [method for method in METHODS if preset("paper", method).feature_augmentation]
    assert asking == ["dino-augseg"]
    assert TrainSettings().feature_augmentation is None
    assert preset("default", "dino-augseg").feature_augmentation is None


def test_unknown_preset_and_method_are_refused() -> None:
    with pytest.raises(ConfigError, match="preset 'fast' is unknown; accepted: paper, default"):
        preset("fast", "linear")
    with pytest.raises(ConfigError, match="method 'unet' is unknown; accepted: segdino-v1, segdino-v2"):
        preset("default", "unet")
    with pytest.raises(ConfigError, match="preset 'fast' is unknown"):
        preset_preprocessing("fast", "linear")
    with pytest.raises(ConfigError, match="method 'unet' is unknown; accepted: segdino-v1, segdino-v2"):
        decoder_settings("unet")
    with pytest.raises(ConfigError, match=r"'segdino-v3' is unknown: did you mean 'segdino-v2'\?; accepted"):
        decoder_settings("segdino-v3")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("epochs", "train.epochs"), ("train.epoch", "train.epochs"), ("model.cache.dtype", "cache.dtype")],
)
def test_an_unknown_key_gets_the_likeliest_one(given: str, meant: str) -> None:
    assert f"setting {given!r} is unknown: did you mean {meant!r}?" in complaint(make_run(), **{given: 1})


def test_a_key_like_no_other_gets_no_suggestion() -> None:
    assert "setting 'banana' is unknown; `dinoseg" in complaint(make_run(), banana=1)


@pytest.mark.parametrize(
    ("method", "options", "key"),
    [
        ("segdino-v1", {"width": 8}, "width"),
        ("segdino-v1", {"widths": (1, 2)}, "widths"),
        ("segdino-v2", {"norm": "layer"}, "norm"),
        ("dino-unet", {"drop_path": 1.0}, "drop_path"),
        ("linear", {"features": 8}, "features"),
    ],
)
def test_decoder_options_are_checked(method: str, options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"setting '{key}"):
        decoder_settings(method, **options)


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_run().train.lr = 1.0  # type: ignore[misc]


def test_override_changes_dotted_keys_and_nothing_else() -> None:
    run = make_run()
    changed = override(run, {"train.lr": 0.5, "model.decoder.features": 7, "cache.dtype": "float32"})
    assert (changed.train.lr, changed.cache.dtype) == (0.5, "float32")
    assert changed.model.decoder == decoder_settings("segdino-v1", features=7)
    assert (
        override(changed, {"train.lr": 1e-4, "model.decoder.features": 128, "cache.dtype": "bfloat16"}) == run
    )
    assert run == make_run()


def test_override_reaches_into_what_is_not_set_yet() -> None:
    run = make_run()
    assert run.train.augmentation is None
    changed = override(run, {"train.augmentation.zoom": 0.3})
    assert changed.train.augmentation == AugmentationSettings(zoom=0.3)
    assert override(changed, {"train.augmentation": None}) == run
    whole = override(run, {"train.augmentation": {"hue": 0.0}})
    assert whole.train.augmentation == AugmentationSettings(hue=0.0)


@pytest.mark.parametrize(
    "key",
    [
        "trian.lr",
        "train.lrr",
        "epochs",
        "train.lr.x",
        "train.augmentation.blur",
        "model.decoder.width",
        "data.x",
    ],
)
def test_unknown_keys_are_refused_by_name(key: str) -> None:
    message = complaint(make_run(), **{key: 1})
    assert f"setting {key!r} is unknown" in message
    assert "dinoseg info settings" in message


def test_a_number_is_no_group_of_settings() -> None:
    assert "setting 'shots'" in complaint(make_run(), shots__x=1)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("train.epochs", 0, "greater than or equal to 1"),
        ("train.epochs", 1.5, "integer"),
        ("train.lr", 0, "greater than 0"),
        ("train.lr", "fast", "valid number"),
        ("train.lr", float("inf"), "finite"),
        ("train.weight_decay", float("nan"), "greater|finite"),
        ("train.loss", "mse", "'half_dice_half_cross_entropy' or 'focal'"),
        ("train.optimizer", "lion", "'adamw', 'adam' or 'sgd'"),
        ("train.momentum", 1.0, "less than 1"),
        ("train.schedule", "step", "'constant', 'cosine' or 'poly'"),
        ("train.steps_per_epoch", 0, "greater than or equal to 1"),
        ("train.gradient_clip", 0, "greater than 0"),
        ("train.feature_augmentation", "fourier", "'wavelet'"),
        ("train.wavelet_drop", 1.5, "less than or equal to 1"),
        ("train.seed", -1, "greater than or equal to 0"),
        ("train.seed", 2**32, "less than"),
        ("train.patience", 0, "greater than or equal to 1"),
        ("train.augmentation.hue", 0.6, "less than or equal to 0.5"),
        ("train.augmentation.zoom", 1.0, "less than 1"),
        ("train.augmentation.horizontal_flip", 1.1, "less than or equal to 1"),
        ("model.preprocessing.size", 0, "greater than or equal to 1"),
        ("cache.limit_gb", 0, "greater than 0"),
        ("cache.dtype", "float16", "'float32' or 'bfloat16'"),
        ("shots", 0, "greater than or equal to 1"),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: Any, accepted: str) -> None:
    message = complaint(make_run(), **{key: value})
    assert f"setting {key!r}" in message
    assert repr(value) in message
    assert any(words in message for words in accepted.split("|"))


def test_a_run_that_would_never_validate_is_refused() -> None:
    message = complaint(make_run(), train__validate_every=6, train__epochs=5)
    assert "setting 'train': validate_every 6 is above epochs 5" in message


def test_all_problems_are_told_at_once() -> None:
    message = complaint(make_run(), train__lr=-1, train__epochs=0)
    assert "train.lr" in message
    assert "train.epochs" in message


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-4", 1e-4),
        ("-2.5E+3", -2500.0),
        (".5e1", 5.0),
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("false", False),
        ("null", None),
        ("none", "none"),
        ("", None),
        ("cosine", "cosine"),
        ("[2, 5]", [2, 5]),
        ("[1, true, text]", [1, True, "text"]),
        ("{hue: 0.1}", {"hue": 0.1}),
        ("a=b=c", "a=b=c"),
        ("{unclosed", "{unclosed"),
        ("folder/with spaces e1", "folder/with spaces e1"),
    ],
)
def test_assignments_are_read_as_typed(word: str, value: Any) -> None:
    parsed = parse_assignments([f"some.key={word}"])
    assert parsed == {"some.key": value}
    assert type(parsed["some.key"]) is type(value)


@pytest.mark.parametrize("word", ["train.lr", "=3", ""])
def test_what_is_no_assignment_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match=r"--set takes key=value, given .*--set train.lr=1e-4"):
        parse_assignments([word])


def test_assignments_fit_the_settings() -> None:
    words = ["train.lr=1e-3", "train.epochs=1e2", "model.decoder.upsample=false", "train.patience=null"]
    run = override(make_run(), parse_assignments([*words, "train.augmentation={hue: 0.1, zoom: 2e-1}"]))
    assert (run.train.lr, run.train.epochs, run.train.patience) == (1e-3, 100, None)
    assert run.model.decoder == decoder_settings("segdino-v1", upsample=False)
    assert run.train.augmentation == AugmentationSettings(hue=0.1, zoom=0.2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: [1", "not valid YAML"),
        ("epochs: 3\nepoch: 4\n", "setting 'epoch' is unknown"),
        ("just text", "settings"),
        ("", "settings"),
        ("epochs: many", "setting 'epochs'"),
    ],
)
def test_wrong_yaml_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_yaml(TrainSettings, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "outputs"), [(2, 1), (3, 3), (9, 9)])
def test_one_foreground_class_is_one_channel(count: int, outputs: int) -> None:
    model = make_run().model.model_copy(update={"classes": {index: str(index) for index in range(count)}})
    assert model.outputs == outputs


@pytest.mark.parametrize("classes", [{0: "background"}, {1: "a", 2: "b"}, {0: "a", 2: "b"}, {}])
def test_classes_are_numbered_from_the_background(classes: dict[int, str]) -> None:
    run = make_run()
    assert "setting 'model.classes'" in complaint(run, model__classes=classes)


@pytest.mark.parametrize(
    "kind", [DinoUNetSettings, PreprocessingSettings, CacheSettings, AugmentationSettings]
)
def test_defaults_are_accepted_by_the_checks(kind: type[Settings]) -> None:
    assert kind.model_validate(kind().model_dump()) == kind()
