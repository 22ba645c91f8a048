"""What every method promises on every kind of backbone: functions to call on the settings of any method.

A method of another package is held to them in the same way:

    for promise in PROMISES:
        promise(Subject(decoder_settings("name", width=8)), "vit")
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dinoseg.backbones.features import Features
from dinoseg.config import DecoderSettings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.decoder import Decoder


@dataclass(frozen=True)
class Subject:
    """A method to be held to its promises.

    Attributes:
        settings: of its decoder: small widths, every branch switched on.
        inert: names of the parameters that have no effect as they should.
    """

    settings: DecoderSettings
    inert: str = "(?!)"


# kind of backbone -> stride that images are padded to, strides and widths of its levels; no side is padded to
# less than the largest stride
KINDS: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "vit": (16, (16,) * 4, (32,) * 4),
    "dinov2": (14, (14,) * 4, (32,) * 4),
    "convnext": (4, (4, 8, 16, 32), (8, 16, 24, 32)),
}
SIZES = [(50, 37), (1, 1), (33, 96)]


def make_inputs(kind: str, size: tuple[int, int], *, batch: int = 1) -> tuple[Features, Tensor]:
    multiple, strides, channels = KINDS[kind]
    generator = torch.Generator().manual_seed(11)
    height, width = (max(-(-side // multiple) * multiple, *strides) for side in size)
    padded = (height, width)
    levels = tuple(
        torch.randn(batch, width, padded[0] // stride, padded[1] // stride, generator=generator)
        for width, stride in zip(channels, strides, strict=True)
    )
    image = torch.randn(batch, 3, *size, generator=generator)
    return Features(levels=levels, strides=strides, size=size, padded=padded), image


def make_decoder(settings: DecoderSettings, kind: str, *, outputs: int = 2, seed: int = 0) -> Decoder:
    """In eval mode, and without the weights that, as they start, keep what is before them out."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = create_decoder(settings, KINDS[kind][2], outputs)
        with torch.no_grad():
            for name, weight in decoder.named_parameters():
                if name.endswith(("gamma", "attention.offsets.weight", "attention.weights.weight")):
                    weight.normal_(std=0.5)
                if name.endswith("squeeze.bias"):
                    weight.fill_(1.0)  # the only unit of so small a network must not be dead
    return decoder.eval()


def all_logits(decoder: Decoder, features: Features, image: Tensor) -> list[Tensor]:
    """The logits, and those of deep supervision where a method has them."""
    decode_all = getattr(decoder, "decode_all", None)
    return decode_all(features, image) if decode_all else [decoder(features, image)]


@torch.no_grad()
def logits_have_the_size_of_the_image(subject: Subject, kind: str) -> None:
    for outputs, size in itertools.product((1, 2, 9), SIZES):
        decoder = make_decoder(subject.settings, kind, outputs=outputs)
        features, image = make_inputs(kind, size)
        logits = decoder(features, image)
        assert logits.shape == (1, outputs, *size)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


def gradients_reach_every_parameter(subject: Subject, kind: str) -> None:
    decoder = make_decoder(subject.settings, kind)
    features, image = make_inputs(kind, (66, 80), batch=2)
    generator = torch.Generator().manual_seed(13)
    outputs = all_logits(decoder, features, image)
    torch.stack(
        [(each * torch.randn(each.shape, generator=generator)).sum() for each in outputs]
    ).sum().backward()
    inert = re.compile(subject.inert)
    sizes = {
        name: 0.0 if weight.grad is None else float(weight.grad.abs().max())
        for name, weight in decoder.named_parameters()
        if not inert.fullmatch(name)
    }
    assert [name for name, size in sizes.items() if size < 1e-7] == []


def trains(subject: Subject, kind: str) -> None:
    """In train mode every parameter gets a finite gradient, and some steps lower the loss."""
    decoder = make_decoder(subject.settings, kind).train()
    features, image = make_inputs(kind, (66, 80), batch=2)
    label = (resize(features.levels[0][:, :1], features.padded)[:, 0, :66, :80] > 0).long()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(8):
            optimizer.zero_grad()
            outputs = all_logits(decoder, features, image)
            # the coarser outputs only so that all parameters take part
            loss = torch.nn.functional.cross_entropy(outputs[0], label)
            (loss + sum(each.square().mean() for each in outputs[1:])).backward()
            assert all(weight.grad.isfinite().all() for weight in decoder.parameters())
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def nothing_is_left_on_another_device(subject: Subject, kind: str) -> None:
    """A step on the device `meta`, which like a GPU refuses to mix with what was made on the CPU."""
    decoder = make_decoder(subject.settings, kind).to("meta").train()
    features, image = make_inputs(kind, (50, 37), batch=2)
    outputs = all_logits(decoder, features.map(lambda maps: maps.to("meta")), image.to("meta"))
    torch.stack([logits.sum() for logits in outputs]).sum().backward()
    assert outputs[0].shape == (2, 2, 50, 37)
    assert {str(weight.grad.device) for weight in decoder.parameters()} == {"meta"}


@torch.no_grad()
def saved_weights_give_the_same_logits(subject: Subject, kind: str) -> None:
    decoder, other = make_decoder(subject.settings, kind), make_decoder(subject.settings, kind, seed=1)
    features, image = make_inputs(kind, (50, 37))
    expected = decoder(features, image)
    assert not torch.equal(other(features, image), expected)
    other.load_state_dict(decoder.state_dict())
    assert torch.equal(other(features, image), expected)


@torch.no_grad()
def seed_decides(subject: Subject, kind: str) -> None:
    features, image = make_inputs(kind, (50, 80), batch=2)
    for train in (False, True):
        results = []
        for _ in range(2):
            decoder = make_decoder(subject.settings, kind).train(train)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(5)
                results.append(decoder(features, image))
        assert torch.equal(*results)


@torch.no_grad()
def images_of_a_batch_do_not_meet_in_eval_mode(subject: Subject, kind: str) -> None:
    decoder = make_decoder(subject.settings, kind)
    features, image = make_inputs(kind, (50, 37), batch=3)
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    together = decoder(features, image)
    for row in range(3):
        alone = decoder(features.map(lambda maps, row=row: maps[row : row + 1]), image[row : row + 1])
        torch.testing.assert_close(alone, together[row : row + 1], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in decoder.state_dict().items())


@torch.no_grad()
def the_image_is_read_only_where_it_is_needed(subject: Subject, kind: str) -> None:
    decoder = make_decoder(subject.settings, kind)
    features, image = make_inputs(kind, (50, 37))
    same = torch.equal(
        decoder(features, image), decoder(features, image + 1) if decoder.needs_image else decoder(features)
    )
    assert same != decoder.needs_image


class Exported(torch.nn.Module):
    """A decoder as a function of tensors."""

    def __init__(self, decoder: Decoder, features: Features) -> None:
        super().__init__()
        self.decoder = decoder
        self.features = features

    def forward(self, image: Tensor, *levels: Tensor) -> Tensor:
        return self.decoder(replace(self.features, levels=levels), image)


@torch.no_grad()
def traced_graph_gives_the_same_logits_and_leaves_the_decoder_usable(
    subject: Subject, kind: str, size: tuple[int, int] = (112, 176)
) -> None:
    """At a size that nothing else here has used."""
    decoder = make_decoder(subject.settings, kind)
    features, image = make_inputs(kind, size)
    program = torch.export.export(Exported(decoder, features), (image, *features.levels), strict=False)
    # other inputs than those of the tracing, of which nothing may stay in the graph
    other, other_image = features.map(lambda maps: maps.flip(-1) * 2), image.flip(-1) * 2
    logits = decoder(other, other_image)
    traced = program.module()(other_image, *other.levels)
    torch.testing.assert_close(traced, logits, rtol=1e-4, atol=1e-5)
    assert (logits - decoder(features, image)).abs().max() > 1e-3
    # torch's own operators only: a runtime needs no kernel of ours
    operators = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert {getattr(each, "namespace", "python") for each in operators} <= {"aten", "python"}


def every_size_and_batch_is_accepted(subject: Subject, kind: str) -> None:
    """In train and eval mode: maps of one cell and the last image of an epoch are no error."""
    sizes = ((16, 16), (23, 23), (32, 32), (33, 47), (64, 64))
    for size, batch, outputs, train in itertools.product(sizes, (1, 2), (1, 4), (False, True)):
        decoder = make_decoder(subject.settings, kind, outputs=outputs).train(train)
        features, image = make_inputs(kind, size, batch=batch)
        found = decoder.decode_all(features, image) if train else [decoder(features, image)]
        assert found[0].shape == (batch, outputs, *size)
        assert all(each.isfinite().all() for each in found)
        if train:
            torch.stack([each.square().mean() for each in found]).sum().backward()
            grads = [weight.grad for weight in decoder.parameters() if weight.grad is not None]
            assert all(grad.isfinite().all() for grad in grads)
            assert grads


PROMISES = [
    every_size_and_batch_is_accepted,
    logits_have_the_size_of_the_image,
    gradients_reach_every_parameter,
    trains,
    nothing_is_left_on_another_device,
    saved_weights_give_the_same_logits,
    seed_decides,
    images_of_a_batch_do_not_meet_in_eval_mode,
    the_image_is_read_only_where_it_is_needed,
]
