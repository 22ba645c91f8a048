"""`Models`: what a server predicts with, each loaded once and kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from dinoseg.errors import UsageError
from dinoseg.inference.pictures.overlays import palette
from dinoseg.model.network import Network, find_reach, input_size
from dinoseg.model.saved import SavedModel
from dinoseg.progress import Progress
from dinoseg.serving.answers import ClassAnswer, ModelAnswer
from dinoseg.serving.refusals import Refusal


@dataclass(frozen=True)
class Served:
    """A model that is loaded.

    Attributes:
        name: what clients call it.
        network: the model.
    """

    name: str
    network: Network

    def describe(self) -> ModelAnswer:
        """What a client wants to know before it asks."""
        settings, facts = self.network.settings, self.network.describe()
        preprocessing = settings.preprocessing
        return ModelAnswer(
            name=self.name,
            method=str(facts.get("method", settings.decoder.method)),
            backbone=str(facts.get("backbone", settings.backbone.name)).rpartition("/")[2],
            classes=list_classes(settings.classes),
            channels=preprocessing.channels,
            size=[*input_size(settings)],
            context=find_reach(self.network),
            volumes=preprocessing.for_volumes,
            licence=find_licence(self.network),
        )


class Models:
    """The models of a server, by name."""

    def __init__(self, served: Iterable[Served] = ()) -> None:
        self._served = {each.name: each for each in served}
        self._lock = Lock()

    @property
    def names(self) -> list[str]:
        """Of all, in the order in which they were given."""
        return [*self._served]

    def __iter__(self) -> Iterator[Served]:
        return iter([*self._served.values()])

    def __len__(self) -> int:
        return len(self._served)

    def add(self, name: str, network: Network) -> Served:
        """Serve one more model, or another one under the same name."""
        served = Served(name, network)
        with self._lock:
            self._served = {**self._served, name: served}
        return served

    def find(self, name: str | None) -> Served:
        """The model of a name; without one the only model.

        Raises:
            Refusal: 422 where it is unknown, or not named and there are several; 503 where there is none.
        """
        served, known = self._served, ", ".join(self._served)
        if not served:
            raise Refusal(503, "this server has no model yet; train one, or start dinoseg serve RUN")
        if not name:
            if len(served) > 1:
                raise Refusal(422, f"model is missing; models of this server: {known}")
            return next(iter(served.values()))
        if name not in served:
            raise Refusal(422, f"the model {name[:80]!r} is unknown; models of this server: {known}")
        return served[name]


def load_models(saved: Sequence[SavedModel], progress: Progress | None = None) -> Models:
    """Load models; each is called like its folder.

    Raises:
        UsageError: two have the same name.
        RunError: one is damaged.
        WeightsError: the weights of a backbone are not there.
    """
    names = [name_model(model.folder) for model in saved]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two models are called {twice[0]}, like their folders; rename one")
    return Models(Served(name, model.open(progress)) for name, model in zip(names, saved, strict=True))


def name_model(folder: Path) -> str:
    """What clients call the model of a folder: like the folder, of a `model/` like the run."""
    whole = folder.absolute()
    name = whole.parent.name if whole.name == "model" else whole.name
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") or "model"


def list_classes(classes: dict[int, str]) -> list[ClassAnswer]:
    """The classes of a model but the background, in the colours of overlays and masks."""
    colours = palette(max(classes) + 1)
    return [
        ClassAnswer(id=index, name=name, colour="#{:02x}{:02x}{:02x}".format(*colours[index].tolist()))
        for index, name in sorted(classes.items())
        if index
    ]


def find_licence(network: Network) -> str | None:
    """The licence of a backbone's weights, where the model says it; of an ensemble those of its members."""
    members: Sequence[Any] = getattr(network, "members", (network,))
    found = [_find_backbone(member) for member in members]
    named = [str(backbone.license) for backbone in found if getattr(backbone, "license", None)]
    return ", ".join(dict.fromkeys(named)) or None


def _find_backbone(network: Any) -> Any:
    pipeline = getattr(network, "pipeline", None)  # of a bundle
    return getattr(pipeline or network, "backbone", None)
