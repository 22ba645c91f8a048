"""Cases of different splits or groups that show the same: found, and told in one line each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dinoseg.data.checks.findings import Finding, Severity
from dinoseg.data.checks.summaries import Copy
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.splits.duplicates import DuplicatePair, find_exact, find_near, read_fingerprints
from dinoseg.data.splits.volume_duplicates import find_equal
from dinoseg.progress import Progress

_NAMED = 3


def find_copies(
    dataset: Dataset,
    parts: Mapping[str, str],
    readable: frozenset[str],
    progress: Progress,
    *,
    digests: Mapping[str, str] | None = None,
) -> tuple[Copy, ...]:
    """Every pair of readable cases in different parts that are equal or nearly, equal ones first.

    Args:
        dataset: the data.
        parts: case id -> split, or group.
        readable: ids of the cases whose images can be read.
        progress: shows the reading.
        digests: case id -> hash of the voxels, for volumes, which are compared by it alone.
    """
    if digests is not None:
        exact = find_equal({id_: digest for id_, digest in digests.items() if id_ in parts}, parts)
        near: list[DuplicatePair] = []
    else:
        cases = [case for case in dataset.cases if case.id in readable and case.id in parts]
        prints = read_fingerprints(cases, progress=progress)
        exact = find_exact(prints, parts)
        same = {(pair.first, pair.second) for pair in exact}
        near = [pair for pair in find_near(prints, parts) if (pair.first, pair.second) not in same]
    images = {case.id: case.image for case in dataset.cases}

    def describe(pair: DuplicatePair, bits: int | None) -> Copy:
        first, second = pair.first, pair.second
        return Copy(first, second, (parts[first], parts[second]), (images[first], images[second]), bits)

    return (*(describe(pair, None) for pair in exact), *(describe(pair, pair.bits) for pair in near))


def summarise_copies(dataset: Dataset, copies: Sequence[Copy], *, split: bool) -> list[Finding]:
    """One finding for equal images and one for images that look nearly the same.

    Args:
        dataset: the data.
        copies: what was found.
        split: whether they stand in different splits, else in different groups.
    """
    where = "stand in two splits" if split else "stand in two groups; give them one in groups.csv"
    severity: Severity = "error" if split else "warning"
    exact = [copy for copy in copies if copy.bits is None]
    near = [copy for copy in copies if copy.bits is not None]
    draw = f"`dinoseg data check {dataset.root} --pictures DIR` draws them"
    return [
        *_summarise(exact, severity, "duplicate", "are the same image", where, draw),
        *_summarise(near, "warning", "near-duplicate", _describe_likeness(near), where, draw),
    ]


def _summarise(
    copies: Sequence[Copy], severity: Severity, topic: str, what: str, where: str, draw: str
) -> list[Finding]:
    if not copies:
        return []
    if len(copies) == 1:
        return [Finding(severity, topic, f"{copies[0].describe()} {what} and {where}")]
    named = [copy.describe() for copy in copies[:_NAMED]]
    more = [f"and {len(copies) - _NAMED} more"] if len(copies) > _NAMED else []
    cases = len({id_ for copy in copies for id_ in (copy.first, copy.second)})
    message = f"{len(copies)} pairs among {cases} cases {what} and {where}: {'; '.join(named + more)}; {draw}"
    return [Finding(severity, topic, message)]


def _describe_likeness(near: Sequence[Copy]) -> str:
    bits = [copy.bits for copy in near if copy.bits is not None]
    if not bits:
        return ""
    spread = str(bits[0]) if min(bits) == max(bits) else f"{min(bits)} to {max(bits)}"
    return f"look nearly the same ({spread} of 255 bits differ)"
