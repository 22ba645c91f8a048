"""The banks of a run: what it learns from, what it validates on, and one case to time beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.config import Inference, TrainSettings
from dinoseg.data import CaseFiles, LabelMapping
from dinoseg.data.cases.images import read_size
from dinoseg.data.cases.volumes import measure_slices
from dinoseg.errors import ConfigError
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.features.jobs import compute_on
from dinoseg.training.features.windows import RandomWindows, SlidingWindows

Banks = tuple[ViewBank, ViewBank | None]
_MOST_PADDING = 2  # times as wide as the largest image: three quarters and more of a window are padding


@dataclass(frozen=True)
class BankMaker:
    """Makes the banks of one run.

    Attributes:
        settings: of the run.
        model: its backbone is asked.
        labels: from mask values to class ids.
        digests: of all files of the cases.
    """

    settings: RunSettings
    model: Segmenter
    labels: LabelMapping
    digests: Mapping[Path, str]

    def make(self, train: Sequence[CaseFiles], val: Sequence[CaseFiles], progress: Progress) -> Banks:
        """The banks to learn from and to validate on, over one store; told is what they lack."""
        recipe, cache = self.settings.train, self._open_cache(self._place)
        bank = self._make(
            train,
            cache,
            augmentation=recipe.augmentation,
            views=_count_views(recipe),
            min_bank=recipe.min_bank if _draws_views(recipe) else 0,
            windows=self._random_windows,
        )
        _tell_idle(recipe, bank, progress)
        if not val:
            progress.note("no validation cases: the last epoch is kept and nothing can stop early")
            return bank, None
        val_bank = self._make(val, cache, windows=self._sliding_windows)
        val_bank.claim()  # before room is made for the first bank
        return bank, val_bank

    def make_trial(self, case: CaseFiles, place: Path) -> ViewBank:
        """A bank of one case as it is learned from, in one view, with a store of its own."""
        return self._make([case], self._open_cache(place), windows=self._random_windows)

    def _make(self, cases: Sequence[CaseFiles], cache: FeatureCache, **options: Any) -> ViewBank:
        options = {"augmentation": None, "views": 1, **options}
        seed = self.settings.train.seed
        return ViewBank(cases, self.labels, self.model, cache, digests=self.digests, seed=seed, **options)

    def _open_cache(self, place: Path) -> FeatureCache:
        settings, model = self.settings.cache, self.model
        store = EntryStore(place, limit_gb=settings.limit_gb)
        network = compute_on(model.device, model.backbone)
        return FeatureCache(network, model.backbone.digest, store, dtype=settings.dtype)

    @property
    def _place(self) -> Path:
        return self.settings.cache.folder or read_settings().home / "features"

    @property
    def _random_windows(self) -> RandomWindows | None:
        side = self.model.settings.preprocessing.window
        return None if side is None else RandomWindows(side, self.settings.train.window_foreground)

    @property
    def _sliding_windows(self) -> SlidingWindows | None:
        side = self.model.settings.preprocessing.window
        return None if side is None else SlidingWindows(side, Inference().overlap)


def check_window(cases: Sequence[CaseFiles], settings: RunSettings, progress: Progress) -> None:
    """Refuse a window beside which every image is small; say how many are smaller than it.

    Raises:
        ConfigError: it is at least twice as wide as the longest side of all images or slices.
    """
    side, plane = settings.train.window, settings.model.preprocessing.planes[0]
    if side is None:
        return
    sizes = [measure_slices(case, plane)[1:] if case.is_volume else read_size(case) for case in cases]
    longest = max(max(size) for size in sizes)
    if side >= _MOST_PADDING * longest:
        raise ConfigError(
            f"train.window={side} is {side / longest:.1f} times the longest side of all training images, "
            f"{longest} px: most of each window would be padding; take {longest} px at most, or leave it out"
        )
    padded = sum(min(size) < side for size in sizes)
    if padded:
        progress.note(
            f"{padded} of {len(sizes)} training cases are smaller than the window of {side} px and are padded"
        )


def _draws_views(recipe: TrainSettings) -> bool:
    """Whether one view of an image is not like another."""
    return recipe.augmentation is not None or recipe.window is not None


def _count_views(recipe: TrainSettings) -> int:
    return recipe.views if _draws_views(recipe) else 1


def _tell_idle(recipe: TrainSettings, bank: ViewBank, progress: Progress) -> None:
    if recipe.augmentation and recipe.min_bank > 1 and bank.views == 1:
        progress.note(
            f"no view is augmented: train.views is 1, and the bank holds {len(bank)} without more "
            f"(train.min_bank={recipe.min_bank})"
        )
