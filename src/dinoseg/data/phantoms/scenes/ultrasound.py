"""Ultrasound: layered tissue with speckle, attenuation, shadows, and a linear or curved probe.

Everything is drawn along the beams (rows are depth, columns are beams); a curved probe bends
the finished field into a fan, which widens the speckle with depth as it does on a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.phantoms.scenes.outlines import Lesion, draw_lesion, place_lesions
from dinoseg.data.phantoms.scenes.textures import (
    Canvas,
    Drawing,
    Field,
    bend_curve,
    blur,
    draw_strokes,
    fractal_noise,
    smooth_noise,
    smoothstep,
)

_RANGE_DB = 46.0


@dataclass(frozen=True)
class _Fan:
    """Where each pixel of the picture lies in beam space; `inside` is the insonated part."""

    rows: Field
    columns: Field
    inside: NDArray[np.bool_]


def draw_ultrasound(canvas: Canvas) -> Drawing:
    """Draw one frame, grey."""
    curved = bool(canvas.subject.random() < 0.5)
    lesions = place_lesions(canvas, radii=(0.05, 0.25), reach=(0.27, 0.38), aspect=(0.5, 0.9), roughness=0.2)
    echo = _draw_tissue(canvas)
    echo *= _draw_vessels(canvas)
    shade = np.ones(canvas.size, dtype=np.float32)
    for lesion in lesions:
        echo = _draw_lesion_echo(canvas, echo, lesion)
        shade *= _cast_shadow(canvas, lesion)
    shade *= _draw_dropout(canvas)
    level = 10 * np.log10(echo * shade + 1e-5) + _draw_speckle(canvas) + _attenuate(canvas)
    pixels = smoothstep(-_RANGE_DB * 0.72, _RANGE_DB * 0.42, level) ** np.float32(1.25)
    pixels = blur(pixels, 0.35 * canvas.unit / 256)
    depth = _join_depths(canvas, lesions)
    if not curved:
        return Drawing(pixels, depth > 0)
    fan = _make_fan(canvas)
    return Drawing(_bend(pixels, fan) * fan.inside, (_bend(depth, fan) > 0) & fan.inside)


def _join_depths(canvas: Canvas, lesions: list[Lesion]) -> Field:
    depth = np.full(canvas.size, -1, dtype=np.float32)
    for lesion in lesions:
        depth = np.maximum(depth, lesion.depth)
    return depth


def _draw_tissue(canvas: Canvas) -> Field:
    """Echo strength of skin, fat lobules, gland and muscle, from top to bottom; about 1 for gland."""
    y, _ = canvas.grid()
    unit = canvas.unit
    depth = y - y[0, 0]
    bumps = smooth_noise(canvas.frame, canvas.size, (unit, 0.35 * unit))
    skin = np.float32(canvas.subject.uniform(0.03, 0.07))
    fat = skin + np.float32(canvas.subject.uniform(0.08, 0.22)) + 0.025 * bumps
    muscle = np.float32(canvas.subject.uniform(0.68, 0.85)) + 0.03 * smooth_noise(
        canvas.frame, canvas.size, (unit, 0.5 * unit)
    )
    lobes = fractal_noise(canvas.frame, canvas.size, (0.1 * unit, 0.24 * unit), octaves=3)
    grain = fractal_noise(canvas.frame, canvas.size, (0.03 * unit, 0.05 * unit), octaves=2)
    gland = np.exp(0.7 * lobes + 0.35 * grain)
    fatty = 0.16 * np.exp(0.5 * lobes) + 1.0 * np.exp(-((lobes / 0.12) ** 2))  # septa between lobules
    fibres = fractal_noise(canvas.frame, canvas.size, (0.018 * unit, 0.5 * unit), octaves=2)
    echo = np.where(depth < fat, fatty, np.where(depth < muscle, gland, 0.22 * np.exp(1.1 * fibres)))
    echo = blur(echo.astype(np.float32), 0.006 * unit)
    for edge, strength in ((fat, 2.0), (muscle, 6.0)):
        echo += strength * np.exp(-(((depth - edge) / 0.008) ** 2)) * (0.6 + 0.4 * np.tanh(bumps))
    echo += 5 * smoothstep(1.3 * float(skin), 0.5 * float(skin), depth)
    return np.asarray(echo, dtype=np.float32)


def _draw_vessels(canvas: Canvas) -> Field:
    """Factor of dark tubes and small cysts of fat that are no lesions; (H, W)."""
    height, width = canvas.size
    generator = canvas.frame
    strokes, widths = [], []
    for _ in range(int(generator.integers(0, 3))):
        start = (generator.uniform(0, width), generator.uniform(0.25, 0.9) * height)
        angle, length = generator.normal(0, 0.35), generator.uniform(0.15, 0.45) * width
        strokes.append(bend_curve(generator, start, angle, length, 0.6))
        widths.append(generator.uniform(0.02, 0.045) * canvas.unit)
    tube = blur(draw_strokes(canvas.size, strokes, widths), 0.006 * canvas.unit)
    factor = 1 - 0.97 * smoothstep(0.25, 0.8, tube) + 1.5 * tube * (1 - tube)  # dark lumen, bright wall
    for _ in range(int(generator.integers(0, 3))):
        centre = (float(generator.uniform(-0.3, 0.45)), float(generator.uniform(-0.5, 0.5)))
        blob = draw_lesion(canvas, centre, float(generator.uniform(0.04, 0.1)), 0.25, 0.3)
        factor *= 1 - 0.45 * smoothstep(-0.5, 0.5, blob.depth)  # a fat lobule: darker, soft, flat
    return np.asarray(factor, dtype=np.float32)


def _draw_lesion_echo(canvas: Canvas, echo: Field, lesion: Lesion) -> Field:
    """Replace the echo inside: cystic, solid and dark, or heterogeneous, with a bright rim."""
    generator = canvas.frame
    level = float(generator.choice([0.002, 0.05, 0.14], p=[0.25, 0.45, 0.3]))
    inner = fractal_noise(generator, canvas.size, (0.05 * canvas.unit, 0.07 * canvas.unit), octaves=2)
    sharpness = float(generator.uniform(0.04, 0.16))
    inside = smoothstep(-0.5 * sharpness, 0.6 * sharpness, lesion.depth)
    rim = np.exp(-(((lesion.depth + 0.06) / 0.06) ** 2)) * generator.uniform(0, 1.2)
    content = level * np.exp(0.6 * inner)
    if generator.random() < 0.25:
        content = content + 4 * (inner > 2.0)  # calcifications
    return np.asarray(echo * (1 - inside) + content * inside + rim, dtype=np.float32)


def _cast_shadow(canvas: Canvas, lesion: Lesion) -> Field:
    """Factor behind a lesion: a shadow behind a solid one, enhancement behind a cyst."""
    strength = float(canvas.frame.choice([0.25, 0.6, 1.0, 2.2], p=[0.3, 0.25, 0.2, 0.25]))
    core = lesion.depth > 0.25
    behind = np.maximum.accumulate(core, axis=0) & ~core
    soft = blur(behind.astype(np.float32), (0.01 * canvas.unit, 0.02 * canvas.unit))
    return np.asarray(np.exp(np.log(strength) * soft), dtype=np.float32)


def _draw_dropout(canvas: Canvas) -> Field:
    """Factor of dark columns where the probe has no contact or a rib lies; (H, W)."""
    beams = smooth_noise(canvas.frame, (1, canvas.size[1]), (1, 0.12 * canvas.unit))
    factor = np.exp(0.25 * beams) * np.where(
        canvas.frame.random() < 0.3, 1 - 0.8 * smoothstep(1.4, 2.2, beams), 1
    )
    return np.asarray(np.broadcast_to(factor, canvas.size), dtype=np.float32)


def _draw_speckle(canvas: Canvas) -> Field:
    """Fully developed speckle in decibel: the amplitude of blurred complex noise is Rayleigh; (H, W)."""
    scale = max(canvas.unit / 256, 0.5)
    parts = canvas.frame.standard_normal((4, *canvas.size), dtype=np.float32)
    # Two looks are averaged, as scanners do: it fills the blackest gaps.
    power = np.sum([blur(part, (0.8 * scale, 1.7 * scale)) ** 2 for part in parts], axis=0)
    return np.asarray(10 * np.log10(power / power.mean() + 0.05), dtype=np.float32)


def _attenuate(canvas: Canvas) -> Field:
    """Loss with depth after gain compensation, and the focal zone, in decibel; (H, 1)."""
    y, _ = canvas.grid()
    depth = y[:, :1] - y[0, 0]
    focus = canvas.subject.uniform(0.3, 0.7)
    return np.asarray(-canvas.subject.uniform(4, 12) * depth**2 + 3 * np.exp(-(((depth - focus) / 0.2) ** 2)))


def _make_fan(canvas: Canvas) -> _Fan:
    height, width = canvas.size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    near = float(canvas.subject.uniform(0.25, 0.6)) * height  # radius of the probe's face
    far = near + height
    # Half of the opening angle in radian: the fan spans the width of the picture at its deepest.
    half = float(np.arcsin(min(0.82, width / 2 / far)))
    lift = near * float(np.cos(half))  # the corners of the face touch the upper border
    far = min(far, height + lift)
    down, across = rows + np.float32(lift), columns - np.float32((width - 1) / 2)
    radius, angle = np.hypot(down, across), np.arctan2(across, down)
    depth = (radius - np.float32(near)) * np.float32((height - 1) / (far - near))
    beam = (angle / np.float32(half) + 1) * np.float32((width - 1) / 2)
    inside = (depth >= 0) & (depth <= height - 1) & (beam >= 0) & (beam <= width - 1)
    return _Fan(depth, beam, inside)


def _bend(field: Field, fan: _Fan) -> Field:
    from scipy import ndimage

    coordinates = [fan.rows, fan.columns]
    return np.asarray(ndimage.map_coordinates(field, coordinates, order=1, mode="nearest"), dtype=np.float32)
