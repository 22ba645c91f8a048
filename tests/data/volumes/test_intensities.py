from __future__ import annotations

import numpy as np
import pytest

from dinoseg.data.volumes import (
    AsStored,
    CTWindows,
    IntensityRule,
    MRPercentiles,
    Ramp,
    apply_ramps,
    fit_ramps,
    iter_slices,
    take_slice,
    upright_geometry,
)
from dinoseg.errors import ConfigError, DataError, UsageError
from tests.data.volumes.samples import make_volume

THREE = CTWindows(((40.0, 400.0), (-600.0, 1500.0), (400.0, 1800.0)))


def _scan(values: np.ndarray, shape: tuple[int, ...] = (1, 2, 2, 2)) -> object:
    array = np.resize(values, shape)
    return make_volume(array, affine=upright_geometry(array.shape[-3:]).affine)


def test_window_ends_at_half_its_width_around_its_centre() -> None:
    volume = _scan(np.array([-1000, -160, 40, 140, 240, 3000, 39, 41], np.int16))
    result = apply_ramps(fit_ramps(CTWindows(((40, 400),)), volume), take_slice(volume, 0))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.ravel(), [0.0, 0.0, 0.5, 0.75])
    result = apply_ramps(fit_ramps(CTWindows(((40, 400),)), volume), take_slice(volume, 1))
    np.testing.assert_allclose(result.ravel(), [1.0, 1.0, 0.4975, 0.5025], atol=1e-6)


def test_three_windows_make_three_channels() -> None:
    volume = _scan(np.arange(-1000, 1000, 250, dtype=np.int16))
    ramps = fit_ramps(THREE, volume)
    assert ramps.ramps == (Ramp(0, -160, 240), Ramp(0, -1350, 150), Ramp(0, -500, 1300))
    result = apply_ramps(ramps, take_slice(volume, 0))
    values = volume.array[0, 0].astype(np.float64)
    for channel, (low, high) in zip(result, [(-160, 240), (-1350, 150), (-500, 1300)], strict=True):
        np.testing.assert_allclose(channel, np.clip((values - low) / (high - low), 0, 1), atol=1e-6)


def test_context_keeps_slices_together() -> None:
    volume = _scan(np.arange(-800, 800, 100, dtype=np.int16), (1, 4, 2, 2))
    ramps = fit_ramps(THREE, volume)
    alone = [apply_ramps(ramps, piece) for piece in iter_slices(volume)]
    together = apply_ramps(ramps, take_slice(volume, 1, context=3))
    np.testing.assert_array_equal(together, np.concatenate(alone[:3]))


def test_percentiles_are_those_of_the_whole_volume() -> None:
    values = np.random.default_rng(0).gamma(2.0, 100.0, (1, 8, 20, 20)).astype(np.float32)
    volume = _scan(values, values.shape)
    ramp = fit_ramps(MRPercentiles(1, 99, region="all"), volume).ramps[0]
    np.testing.assert_allclose((ramp.low, ramp.high), np.percentile(values, (1, 99)))
    empty = take_slice(volume, 0) * 0 + np.float32(ramp.low)
    assert apply_ramps(fit_ramps(MRPercentiles(1, 99, region="all"), volume), empty).max() == 0.0


def test_foreground_leaves_out_the_background() -> None:
    values = np.zeros((1, 10, 10, 10), np.int16)  # most of the volume is empty
    values[0, :2] = np.arange(1, 201).reshape(2, 10, 10)
    volume = _scan(values, values.shape)
    ramp = fit_ramps(MRPercentiles(5, 95), volume).ramps[0]
    np.testing.assert_allclose((ramp.low, ramp.high), np.percentile(np.arange(1, 201), (5, 95)))
    everything = fit_ramps(MRPercentiles(5, 95, region="all"), volume).ramps[0]
    assert everything.low == 0.0
    assert everything.high < ramp.high


def test_every_channel_has_its_own_percentiles() -> None:
    values = np.stack([np.arange(1000), np.arange(1000) * 7 + 100]).reshape(2, 10, 10, 10).astype(np.int32)
    ramps = fit_ramps(MRPercentiles(0, 100, region="all"), _scan(values, values.shape))
    assert ramps.ramps == (Ramp(0, 0, 999), Ramp(1, 100, 7093))
    result = apply_ramps(ramps, values[:, -1])
    np.testing.assert_allclose(result[0], result[1], atol=1e-6)


def test_percentiles_of_a_large_volume_come_from_a_regular_sample() -> None:
    values = (np.arange(8 * 1000 * 1000) % 1001).astype(np.int16).reshape(1, 8, 1000, 1000)
    ramp = fit_ramps(MRPercentiles(10, 90, region="all"), _scan(values, values.shape)).ramps[0]
    np.testing.assert_allclose((ramp.low, ramp.high), (100, 900), atol=3)


def test_stored_range_is_the_same_for_every_volume() -> None:
    volume = _scan(np.array([0, 51, 102, 255, 1, 2, 3, 4], np.uint8))
    result = apply_ramps(fit_ramps(AsStored(), volume), take_slice(volume, 0))
    np.testing.assert_allclose(result.ravel(), [0.0, 0.2, 0.4, 1.0], atol=1e-6)
    half = fit_ramps(AsStored(0.0, 1.0), _scan(np.linspace(0, 1, 8, dtype=np.float32)))
    assert half.ramps == (Ramp(0, 0.0, 1.0),)


def test_values_outside_the_stored_range_are_refused() -> None:
    with pytest.raises(DataError, match=r"from -5 to 300, outside 0 to 255"):
        fit_ramps(AsStored(), _scan(np.array([-5, 300], np.int16)))


@pytest.mark.parametrize("rule", [MRPercentiles(), MRPercentiles(region="all")])
def test_constant_volume_is_refused(rule: IntensityRule) -> None:
    with pytest.raises(DataError, match=r"scan\.nii\.gz .* both at"):
        fit_ramps(rule, _scan(np.full(8, 7, np.int16)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CTWindows(()),
        lambda: CTWindows(((40, 400), (0, 1))),
        lambda: CTWindows(((40, 0),)),
        lambda: CTWindows(((np.nan, 100),)),
        lambda: CTWindows(((40, 400, 1),)),
        lambda: MRPercentiles(5, 5),
        lambda: MRPercentiles(-1, 99),
        lambda: MRPercentiles(0, 101),
        lambda: MRPercentiles(region="brain"),
        lambda: AsStored(1, 0),
        lambda: AsStored(0, np.inf),
    ],
)
def test_impossible_rules_are_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()


def test_channels_of_the_result_are_channels_times_windows_times_context() -> None:
    volume = _scan(np.arange(16, dtype=np.uint8), (2, 3, 2, 2))
    for rule, windows in ((CTWindows(), 1), (THREE, 3), (MRPercentiles(), 1), (AsStored(), 1)):
        for context in (1, 3):
            result = apply_ramps(fit_ramps(rule, volume), take_slice(volume, 1, context=context))
            assert len(result) == 2 * windows * context


def test_slices_of_another_volume_are_refused() -> None:
    ramps = fit_ramps(AsStored(), _scan(np.arange(16, dtype=np.uint8), (2, 2, 2, 2)))
    with pytest.raises(UsageError, match="2 x context"):
        apply_ramps(ramps, np.zeros((3, 2, 2), np.uint8))
