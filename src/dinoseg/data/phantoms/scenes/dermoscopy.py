"""Dermoscopy: skin that absorbs light by its pigment, with network, globules, hairs and vignetting."""

from __future__ import annotations

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

# Absorption of red, green and blue: melanin takes blue first, blood takes green and blue.
_MELANIN = np.array([0.55, 1.0, 1.35], dtype=np.float32)
_BLOOD = np.array([0.12, 1.0, 0.8], dtype=np.float32)
_SKIN = np.array([0.95, 0.83, 0.76], dtype=np.float32)
_VISIBLE = 0.25  # light below which nobody would draw an outline
_CARDS = ((0.95, 0.85, 0.1), (0.25, 0.7, 0.75), (0.75, 0.3, 0.35), (0.55, 0.6, 0.62))


def draw_dermoscopy(canvas: Canvas) -> Drawing:
    """Draw one photograph, RGB."""
    lesions = place_lesions(canvas, radii=(0.06, 0.4), reach=(0.2, 0.28), roughness=0.24)
    melanin, blood = _draw_skin(canvas)
    for lesion in lesions:
        pigment, vessels = _draw_pigment(canvas, lesion)
        melanin += pigment
        blood += vessels
    melanin += _draw_freckles(canvas)
    colour = _SKIN * np.exp(-melanin[..., None] * _MELANIN - blood[..., None] * _BLOOD)
    colour *= _light(canvas)[..., None]
    colour = _lay_hairs(canvas, colour)
    colour = _lay_bubbles(canvas, colour)
    colour = _lay_card(canvas, colour, lesions)
    tube = _draw_tube(canvas)
    colour *= tube[..., None]
    colour = add_grain(canvas.frame, colour, 0.008)
    return Drawing(np.clip(colour, 0, 1), merge_masks(canvas, lesions) & (tube > _VISIBLE))


def _draw_skin(canvas: Canvas) -> tuple[Field, Field]:
    """Melanin and blood of the skin around the lesion; each (H, W)."""
    unit, frame = canvas.unit, canvas.frame
    tone = float(canvas.subject.choice([0.04, 0.12, 0.25, 0.55], p=[0.4, 0.3, 0.2, 0.1]))
    patches = fractal_noise(frame, canvas.size, (0.5 * unit, 0.5 * unit), octaves=3)
    pores = fractal_noise(frame, canvas.size, (0.02 * unit, 0.02 * unit), octaves=2)
    lines = np.abs(smooth_noise(frame, canvas.size, (0.035 * unit, 0.09 * unit)))
    melanin = tone * (1 + 0.18 * patches) + 0.012 * pores - 0.02 * np.exp(-((lines / 0.15) ** 2))
    flush = float(canvas.subject.uniform(0.02, 0.16))
    blood = flush * (1 + 0.3 * fractal_noise(frame, canvas.size, (0.25 * unit, 0.25 * unit), octaves=3))
    return np.asarray(melanin, dtype=np.float32), np.asarray(blood, dtype=np.float32)


def _draw_pigment(canvas: Canvas, lesion: Lesion) -> tuple[Field, Field]:
    """Melanin and blood that a lesion adds; each (H, W), fading over its outline."""
    unit, frame = canvas.unit, canvas.frame
    softness = float(frame.uniform(0.08, 0.4))
    body = smoothstep(-0.35 * softness, softness, lesion.depth)
    cloud = fractal_noise(frame, canvas.size, (0.5 * lesion.radius * unit,) * 2, octaves=4, gain=0.6)
    strength = float(canvas.subject.uniform(0.35, 1.3))
    pigment = strength * np.exp(0.38 * cloud) * (0.65 + 0.5 * np.clip(lesion.depth, 0, 1))
    if frame.random() < 0.6:
        pigment = pigment + 0.5 * strength * _draw_network(canvas) * smoothstep(0.9, 0.3, lesion.depth)
    if frame.random() < 0.5:
        dots = smooth_noise(frame, canvas.size, (0.016 * unit, 0.016 * unit))
        pigment = pigment + 0.9 * strength * smoothstep(1.1, 1.7, dots)
    if frame.random() < 0.3:  # regression: a pale, scar-like part
        pigment = pigment * (1 - 0.75 * smoothstep(0.4, 1.2, cloud) * smoothstep(0.1, 0.4, lesion.depth))
    blush = float(frame.uniform(0, 0.2))
    blood = blush * smoothstep(-0.3, 0.3, lesion.depth) * np.exp(0.3 * cloud)
    return np.asarray(body * pigment, dtype=np.float32), np.asarray(blood, dtype=np.float32)


def _draw_network(canvas: Canvas) -> Field:
    """Honeycomb of a pigment network: the lines where two warped lattices are near zero; (H, W) 0..1."""
    y, x = canvas.grid()
    frame = canvas.frame
    warp = 0.25 * canvas.unit
    dy, dx = (0.02 * smooth_noise(frame, canvas.size, (warp / 3, warp / 3)) for _ in range(2))
    pitch = float(frame.uniform(0.017, 0.028))
    total = np.zeros(canvas.size, dtype=np.float32)
    for angle in np.float32(frame.uniform(0, np.pi)) + np.arange(3, dtype=np.float32) * np.float32(np.pi / 3):
        total += np.cos(2 * np.pi / pitch * ((x + dx) * np.cos(angle) + (y + dy) * np.sin(angle)))
    return smoothstep(0.6, -1.3, total)


def _draw_freckles(canvas: Canvas) -> Field:
    """Faint small spots that are no lesions; (H, W) melanin."""
    y, x = canvas.grid()
    spots = np.zeros(canvas.size, dtype=np.float32)
    for _ in range(int(canvas.subject.integers(0, 7))):
        top, left = canvas.frame.uniform(-0.5, 0.5), canvas.frame.uniform(-0.6, 0.6)
        width, strength = canvas.frame.uniform(0.006, 0.016), canvas.frame.uniform(0.08, 0.22)
        column, row = np.exp(-(((y[:, :1] - top) / width) ** 2)), np.exp(-(((x[:1] - left) / width) ** 2))
        spots += strength * column * row
    return spots


def _light(canvas: Canvas) -> Field:
    y, x = canvas.grid()
    slope = canvas.frame.normal(0, 0.08, 2).astype(np.float32)
    return np.asarray(canvas.frame.uniform(0.9, 1.05) * (1 + slope[0] * y + slope[1] * x), dtype=np.float32)


def _lay_hairs(canvas: Canvas, colour: Field) -> Field:
    """Dark, sometimes pale, thin curves across the picture."""
    frame, unit = canvas.frame, canvas.unit
    height, width = canvas.size
    count = int(canvas.subject.choice([0, 2, 7, 18], p=[0.35, 0.3, 0.25, 0.1]))
    heading = canvas.subject.uniform(0, 2 * np.pi)
    strokes = [
        bend_curve(
            frame,
            (frame.uniform(-0.1, 1.0) * width, frame.uniform(-0.1, 1.0) * height),
            heading + frame.normal(0, 0.6),
            frame.uniform(0.3, 1.1) * unit,
            0.9,
        )
        for _ in range(count)
    ]
    widths = [float(frame.uniform(0.0025, 0.006)) * unit for _ in range(count)]
    cover = 0.85 * draw_strokes(canvas.size, strokes, widths)[..., None]
    tint = np.array(
        [0.16, 0.1, 0.07] if canvas.subject.random() < 0.9 else [0.6, 0.5, 0.38], dtype=np.float32
    )
    shadow = 0.12 * blur(cover[..., 0], 0.008 * unit)[..., None]
    return np.asarray(colour * (1 - shadow) * (1 - cover) + tint * cover, dtype=np.float32)


def _lay_bubbles(canvas: Canvas, colour: Field) -> Field:
    """Bubbles of the gel: thin bright rings with a glint."""
    y, x = canvas.grid()
    frame = canvas.frame
    for _ in range(int(frame.choice([0, 3, 8], p=[0.65, 0.25, 0.1]))):
        top, left, radius = frame.uniform(-0.5, 0.5), frame.uniform(-0.6, 0.6), frame.uniform(0.006, 0.022)
        distance = np.hypot(y - top, x - left) / radius
        ring = 0.12 * np.exp(-(((distance - 1) / 0.12) ** 2))
        glint = 0.6 * np.exp(
            -((np.hypot(y - top + 0.4 * radius, x - left + 0.4 * radius) / (0.2 * radius)) ** 2)
        )
        colour = colour + (ring + glint)[..., None].astype(np.float32)
    return colour


def _lay_card(canvas: Canvas, colour: Field, lesions: list[Lesion]) -> Field:
    """A round colour card at the rim, where it covers no lesion."""
    if canvas.frame.random() > 0.15:
        return colour
    y, x = canvas.grid()
    side = float(canvas.frame.choice([-1, 1])) * canvas.size[1] / canvas.unit / 2
    distance = np.hypot(y - canvas.frame.uniform(-0.4, 0.4), x - 1.12 * side)
    cover = smoothstep(0.285, 0.28, distance.astype(np.float32))
    if any((cover > 0)[lesion.depth > -0.2].any() for lesion in lesions):
        return colour
    tint = np.array(_CARDS[int(canvas.frame.integers(len(_CARDS)))], dtype=np.float32)
    edge = 1 - 0.25 * np.exp(-(((distance - 0.28) / 0.012) ** 2))
    return np.asarray(
        (colour * (1 - cover[..., None]) + tint * cover[..., None]) * edge[..., None], dtype=np.float32
    )


def _draw_tube(canvas: Canvas) -> Field:
    """Light that the dermatoscope's tube lets through: a bright disc, or only a falloff; (H, W)."""
    y, x = canvas.grid()
    centre = canvas.frame.normal(0, 0.015, 2).astype(np.float32)
    distance = np.hypot(y - centre[0], x - centre[1])
    falloff = 1 - 0.35 * distance**2
    if canvas.subject.random() < 0.4:
        radius = float(canvas.subject.uniform(0.5, 0.62))
        falloff = falloff * (0.02 + 0.98 * smoothstep(radius, radius - 0.05, distance))
    return np.asarray(falloff, dtype=np.float32)
