"""Endoscopy: a lit height field of folds and domes, with vessels, wet highlights and residue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dinoseg.data.phantoms.scenes.outlines import Lesion, merge_masks, place_lesions
from dinoseg.data.phantoms.scenes.textures import (
    Canvas,
    Drawing,
    Field,
    add_grain,
    bend_curve,
    blur,
    draw_strokes,
    fractal_noise,
    smooth_noise,
    smoothstep,
)

_MUCOSA = np.array([0.82, 0.42, 0.33], dtype=np.float32)
_PALE = np.array([0.92, 0.6, 0.47], dtype=np.float32)
_RED = np.array([0.84, 0.33, 0.26], dtype=np.float32)
_VESSEL = np.array([0.72, 0.22, 0.2], dtype=np.float32)
_DEEP = np.array([0.8, 1.1, 1.15], dtype=np.float32)  # far away only red comes back
_LAMP = (-0.55, 0.35)  # where the light comes from: above, to the right, as slopes (y, x)
_RESIDUE = np.array([0.7, 0.58, 0.22], dtype=np.float32)


@dataclass(frozen=True)
class _Relief:
    """Height above the wall and distance from the lamp; each (H, W)."""

    height: Field
    distance: Field


def draw_endoscopy(canvas: Canvas) -> Drawing:
    """Draw one frame, RGB."""
    half_width = canvas.size[1] / canvas.unit / 2
    lesions = place_lesions(
        canvas, radii=(0.05, 0.3), reach=(0.28, half_width - 0.22), aspect=(0.65, 1.0), roughness=0.08
    )
    relief = _shape_wall(canvas, lesions)
    colour = _colour_wall(canvas, lesions)
    colour = _lay_vessels(canvas, colour, lesions)
    colour, wet = _lay_residue(canvas, colour, lesions)
    colour = _light(canvas, colour, relief, wet)
    colour = _frame_picture(canvas, colour)
    return Drawing(np.clip(colour, 0, 1).astype(np.float32), merge_masks(canvas, lesions) & _is_seen(canvas))


def _shape_wall(canvas: Canvas, lesions: list[Lesion]) -> _Relief:
    """Folds around the lumen, small bumps, and a dome for each lesion."""
    y, x = canvas.grid()
    unit, subject, frame = canvas.unit, canvas.subject, canvas.frame
    top, left = subject.uniform(-0.35, 0.35) + frame.normal(0, 0.05), subject.uniform(-0.5, 0.5)
    warp = 0.16 * fractal_noise(frame, canvas.size, (0.5 * unit, 0.5 * unit), octaves=3)
    radius = np.hypot(y - top, 0.85 * (x - left)) * np.exp(warp)
    lumen = float(subject.uniform(0.03, 0.2))
    away = np.log(radius + 0.12) * float(subject.uniform(1.2, 2.2))
    folds = np.exp(-(((away - np.round(away)) / 0.2) ** 2)) * smoothstep(
        0.02, 0.25, radius.astype(np.float32)
    )
    bumps = fractal_noise(frame, canvas.size, (0.16 * unit, 0.16 * unit), octaves=3, gain=0.4)
    height = 0.036 * float(subject.uniform(0.3, 1.0)) * folds + 0.0045 * bumps
    nearer = np.zeros(canvas.size, dtype=np.float32)
    for lesion in lesions:
        inside = np.clip(lesion.depth, 0, 1)
        dome = inside * (2 - inside)
        lobes = 1 + 0.03 * smooth_noise(frame, canvas.size, (0.4 * lesion.radius * unit,) * 2)
        height = height * (1 - 0.85 * dome) + float(frame.uniform(0.35, 0.65)) * lesion.radius * dome * lobes
        nearer = nearer + dome
    distance = 0.58 + 1.9 * np.exp(-radius / (lumen + 0.1)) - 0.22 * np.clip(radius - 0.4, 0, 1)
    distance = distance - np.clip(distance - 0.7, 0, None) * 0.75 * np.minimum(nearer, 1)
    return _Relief(blur(height.astype(np.float32), 0.007 * unit), np.asarray(distance, dtype=np.float32))


def _colour_wall(canvas: Canvas, lesions: list[Lesion]) -> Field:
    """Colour without light: mucosa with patches, and each lesion redder or paler than it; (H, W, 3)."""
    unit, frame = canvas.unit, canvas.frame
    hue = canvas.subject.normal(0, 0.035, 3).astype(np.float32)
    patches = fractal_noise(frame, canvas.size, (0.3 * unit, 0.3 * unit), octaves=4)[..., None]
    colour = (_MUCOSA + hue) * (1 + np.array([0.04, 0.09, 0.09], dtype=np.float32) * patches)
    for lesion in lesions:
        target = _RED if frame.random() < 0.5 else _PALE
        amount = float(frame.uniform(0.15, 0.7))
        grain = fractal_noise(frame, canvas.size, (0.022 * unit, 0.022 * unit), octaves=2)
        cover = amount * smoothstep(-0.06, 0.2, lesion.depth)
        pits = 1 - 0.04 * smoothstep(-0.06, 0.2, lesion.depth) * np.clip(grain, -1, 2)
        colour = (colour * (1 - cover[..., None]) + (target + 0.5 * hue) * cover[..., None]) * pits[..., None]
    return np.asarray(colour, dtype=np.float32)


def _lay_vessels(canvas: Canvas, colour: Field, lesions: list[Lesion]) -> Field:
    """Branching vessels that shine through the wall, and end at a lesion."""
    frame, unit = canvas.frame, canvas.unit
    height, width = canvas.size
    strokes, widths = [], []
    for _ in range(int(canvas.subject.integers(2, 9))):
        start = (frame.uniform(0, width), frame.uniform(0, height))
        angle, thickness = frame.uniform(0, 2 * np.pi), frame.uniform(0.005, 0.011) * unit
        trunk = bend_curve(frame, start, angle, frame.uniform(0.3, 0.7) * unit, 1.2)
        strokes.append(trunk)
        widths.append(thickness)
        for _branch in range(int(frame.integers(1, 4))):
            turn = angle + frame.choice([-1, 1]) * frame.uniform(0.5, 1.1)
            point = trunk[int(frame.integers(4, 20))]
            strokes.append(bend_curve(frame, point.tolist(), turn, frame.uniform(0.1, 0.3) * unit, 1.4))
            widths.append(0.6 * thickness)
    cover = 0.42 * blur(draw_strokes(canvas.size, strokes, widths), 0.0035 * unit)
    for lesion in lesions:
        cover *= 1 - smoothstep(-0.15, 0.1, lesion.depth)
    return np.asarray(colour * (1 - cover[..., None]) + _VESSEL * cover[..., None], dtype=np.float32)


def _lay_residue(canvas: Canvas, colour: Field, lesions: list[Lesion]) -> tuple[Field, Field]:
    """Yellowish fluid beside the lesions; returns the colour and how wet each pixel is."""
    frame, unit = canvas.frame, canvas.unit
    wet = smoothstep(-0.5, 1.5, smooth_noise(frame, canvas.size, (0.2 * unit, 0.2 * unit)))
    if canvas.subject.random() > 0.4:
        return colour, wet
    field = fractal_noise(frame, canvas.size, (0.2 * unit, 0.26 * unit), octaves=4, gain=0.55)
    cover = 0.65 * smoothstep(1.0, 1.7, field)
    for lesion in lesions:
        cover *= smoothstep(0.05, -0.3, lesion.depth)
    mixed = colour * (1 - cover[..., None]) + _RESIDUE * cover[..., None]
    return np.asarray(mixed, dtype=np.float32), np.maximum(wet, cover)


def _light(canvas: Canvas, colour: Field, relief: _Relief, wet: Field) -> Field:
    """A lamp beside the lens: falloff, Lambert shading, shaded hollows and wet highlights."""
    unit = canvas.unit
    slope_y, slope_x = np.gradient(relief.height * unit)
    y, x = canvas.grid()
    toward_y, toward_x = np.float32(_LAMP[0]) - 0.4 * y, np.float32(_LAMP[1]) - 0.4 * x
    steep = np.sqrt((1 + slope_y**2 + slope_x**2) * (1 + toward_y**2 + toward_x**2))
    lambert = np.clip((1 - slope_y * toward_y - slope_x * toward_x) / steep, 0, 1)
    soft = blur(relief.height, 0.03 * unit)
    hollow = 1 - 0.3 * np.clip(soft - relief.height, 0, 0.03) / 0.03
    falloff = np.minimum(0.62 / relief.distance**2, 1.3)
    shade = (0.42 + 0.75 * lambert) * hollow * _cast_shadow(canvas, soft)
    lit = colour * (shade[..., None] * falloff[..., None] ** _DEEP)
    glints = _find_glints(canvas, slope_y - 0.6 * toward_y, slope_x - 0.6 * toward_x, wet)
    highlight = (blur(glints, 0.0025 * unit) + 0.25 * blur(glints, 0.012 * unit)) * np.minimum(falloff, 1)
    return np.asarray(lit + np.float32(0.95) * highlight[..., None], dtype=np.float32)


def _cast_shadow(canvas: Canvas, height: Field) -> Field:
    """Factor on the side of a bump that the lamp does not reach; (H, W)."""
    rows, columns = np.arange(canvas.size[0]), np.arange(canvas.size[1])
    rows = np.clip(rows + round(0.06 * canvas.unit * _LAMP[0]), 0, canvas.size[0] - 1)
    columns = np.clip(columns + round(0.06 * canvas.unit * _LAMP[1]), 0, canvas.size[1] - 1)
    rise = height[rows[:, None], columns[None, :]] - height
    return np.asarray(1 - 0.28 * smoothstep(0.012, 0.06, rise), dtype=np.float32)


def _find_glints(canvas: Canvas, tilt_y: Field, tilt_x: Field, wet: Field) -> Field:
    """Spots where the rippled wet surface mirrors the lamp; (H, W) 0..1."""
    cell = 0.028 * canvas.unit
    ripple_y, ripple_x = (0.9 * smooth_noise(canvas.frame, canvas.size, (cell, cell)) for _ in range(2))
    gloss = 1 - np.hypot(tilt_y + ripple_y, tilt_x + ripple_x)
    return np.asarray(smoothstep(0.68, 0.85, gloss) * smoothstep(0.5, 0.9, wet), dtype=np.float32)


def _frame_picture(canvas: Canvas, colour: Field) -> Field:
    """Sensor noise and the dark corners of the picture."""
    noisy = add_grain(canvas.frame, colour, 0.01)
    return np.asarray(noisy * _is_seen(canvas)[..., None], dtype=np.float32)


def _is_seen(canvas: Canvas) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(H, W): inside the picture, whose corners are cut."""
    y, x = canvas.grid()
    half_y, half_x = canvas.size[0] / canvas.unit / 2, canvas.size[1] / canvas.unit / 2
    return np.asarray((half_y - np.abs(y)) + (half_x - np.abs(x)) > 0.16)
