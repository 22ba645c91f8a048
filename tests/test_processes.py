"""Processes that work together: shares, sums through which gradients flow, and who starts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dinoseg.cli.processes import find_launch
from dinoseg.errors import UsageError
from dinoseg.processes import ALONE, Processes, connect
from dinoseg.training.learning.losses import LOSSES, create_loss
from tests.cli.conftest import run as run
from tests.training.folders import make_data


def test_one_alone_does_everything() -> None:
    value = torch.ones(2, requires_grad=True)
    assert ALONE.total(value) is value
    assert ALONE.share([1, 2, 3]) == [1, 2, 3]
    assert ALONE.gather("a") == ["a"]
    assert ALONE.tell("a") == "a"
    ALONE.wait()


def test_shares_are_all_and_nothing_twice() -> None:
    shares = [Processes(rank, 3).share(range(8)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(8))


def test_a_program_alone_is_no_several_processes() -> None:
    with connect(1, 1, device="cpu") as found:
        assert found is ALONE
    with (
        pytest.raises(UsageError, match="torchrun --nnodes 2 --nproc-per-node 3"),
        connect(3, 2, device="cpu"),
    ):
        pass


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [False, True])
def test_the_mean_gradient_of_parts_is_that_of_the_whole(
    name: str, outputs: int, weighted: bool, ignore: bool
) -> None:
    """Parts of different sizes, one of which nobody decided: as if one process had seen all of it."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, outputs, 6, 7, generator=generator, dtype=torch.float64)
    label = torch.randint(2 if outputs == 1 else 3, (5, 6, 7), generator=generator).to(torch.uint8)
    if ignore:
        label[3:] = 255
        label[0, :2] = 255
    weights = (1.0, 2.0, 3.0)[: max(2, outputs)] if weighted else None
    whole = logits.clone().requires_grad_()
    expected = create_loss(name, weights=weights, ignore=ignore)(whole, label)
    expected.backward()
    parts = [(slice(0, 3), whole), (slice(3, 5), whole)]
    losses, gradients = _train_apart(parts, logits, label, name, weights, ignore)
    assert losses == pytest.approx([float(expected.detach())] * 2, rel=1e-9)
    found = sum(gradients) / len(parts)
    torch.testing.assert_close(found, whole.grad, rtol=1e-9, atol=1e-12)


def _train_apart(parts, logits, label, name, weights, ignore):
    """What two processes compute: each with the other's sums as constants, and gradients times two."""
    names: list[list[torch.Tensor]] = []
    for place, _ in parts:  # first round: the sums of each part, in the order in which they are asked for
        sums: list[torch.Tensor] = []
        names.append(sums)

        def keep(value: torch.Tensor, sums: list[torch.Tensor] = sums) -> torch.Tensor:
            sums.append(value.detach())
            return value

        create_loss(name, weights=weights, ignore=ignore, across=keep)(logits[place], label[place])
    totals = [sum(each) for each in zip(*names, strict=True)]
    losses, gradients = [], []
    for place, _ in parts:
        own = logits.clone().requires_grad_()
        left = iter(totals)

        def total(value: torch.Tensor, left=left) -> torch.Tensor:
            return next(left) + len(parts) * (value - value.detach())

        loss = create_loss(name, weights=weights, ignore=ignore, across=total)(own[place], label[place])
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(own.grad)
    return losses, gradients


def test_torchrun_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_launch(None, None).starts is False
    assert find_launch(2, None).starts is True
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}.items():
        monkeypatch.setenv(name, value)
    found = find_launch(None, None)
    assert (found.devices, found.nodes, found.starts) == (2, 3, False)


def test_several_machines_need_somebody_who_starts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="torchrun --nnodes 2 --nproc-per-node 4"):
        find_launch(4, 2)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert find_launch(4, 2).starts is False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("processes") / "data", count=15)


def words(data: Path, out: Path, cache: Path, *more: object, method: str = "segdino-v1") -> list[str]:
    settings = {
        "model.preprocessing.size": 64,
        "train.epochs": 3,
        "train.views": 2,
        "train.min_bank": 0,
        "train.min_epoch_samples": 0,
        "train.batch_size": 4,  # 10 or 11 cases: the last batch is not full
        "cache.folder": cache,
    }
    assigned = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    given = [data, "--method", method, "--backbone", "untrained-vitt16", "--out", out, "--threads", 1]
    return [str(word) for word in ["train", *given, *assigned, *more]]


def call(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, **options)


def dinoseg(*arguments: str) -> subprocess.CompletedProcess[str]:
    return call([sys.executable, "-m", "dinoseg", *arguments])


def read_decoder(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / "model" / "decoder.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["dinoseg", "torchrun"])
def test_two_processes_train_what_one_trains(data: Path, tmp_path: Path, starter: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    ended = dinoseg(*words(data, one, tmp_path / "a"))
    assert ended.returncode == 0, ended.stderr
    if starter == "dinoseg":
        ended = dinoseg(*words(data, two, tmp_path / "b", "--devices", 2))
    else:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        ended = call([*launcher, "-m", "dinoseg", *words(data, two, tmp_path / "b")])
    assert ended.returncode == 0, ended.stderr
    ours, theirs = read_decoder(one), read_decoder(two)
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-5, atol=1e-5)
    for column in ("train_loss", "val_dice"):
        assert read_column(two, column) == pytest.approx(read_column(one, column), abs=1e-5)
    listed = {
        path.relative_to(two) for path in two.rglob("*") if path.is_file() and "events" not in path.name
    }
    assert listed == {
        path.relative_to(one) for path in one.rglob("*") if path.is_file() and "events" not in path.name
    }
    made = sorted(path.name for path in (tmp_path / "b").rglob("*.safetensors"))
    assert made == sorted(path.name for path in (tmp_path / "a").rglob("*.safetensors"))


def read_column(run: Path, name: str) -> list[float]:
    import csv

    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_killed_process_ends_all_with_a_reason_and_the_run_goes_on(data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert dinoseg(*words(data, one, tmp_path / "a", "--set", "train.epochs=40")).returncode == 0
    many = words(data, two, tmp_path / "a", "--devices", "2", "--set", "train.epochs=40")
    started = subprocess.Popen([sys.executable, "-m", "dinoseg", *many], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (two / "metrics.csv").is_file() and time.monotonic() < until:
        time.sleep(0.05)
    (victim,) = [pid for pid in find_children(started.pid) if read_environment(pid).get("RANK") == "1"]
    os.kill(victim, 9)
    _, told = started.communicate(timeout=60)
    assert started.returncode == 1
    assert (
        "error: process 1 of 2: ended by signal 9; all were ended; run the same command with --resume" in told
    )
    assert find_children(started.pid) == []
    assert dinoseg(*many, "--resume").returncode == 0
    for name, value in read_decoder(one).items():
        torch.testing.assert_close(read_decoder(two)[name], value, rtol=1e-4, atol=1e-4)


def find_children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def read_environment(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(line.partition("=")[::2] for line in text.split("\0") if "=" in line)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two machines on this one: network namespaces joined by a cable; 10.77.0.1 and 10.77.0.2."""
    names = ("dinoseg-a", "dinoseg-b")
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and the program ip (Debian's iproute2) to make network namespaces")
    lines = [f"netns add {name}" for name in names]
    lines += [f"link add veth-a netns {names[0]} type veth peer name veth-b netns {names[1]}"]
    for number, name in enumerate(names, 1):
        device = f"veth-{name[-1]}"
        lines += [f"-n {name} addr add 10.77.0.{number}/24 dev {device}"]
        lines += [f"-n {name} link set {up} up" for up in (device, "lo")]
    try:
        for line in lines:
            made = call(["ip", *line.split()])
            if made.returncode:
                pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
        yield names
    finally:
        for name in names:
            call(["ip", "netns", "del", name])


@pytest.mark.slow
def test_two_machines_train_what_one_process_trains(
    data: Path, tmp_path: Path, hosts: tuple[str, str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert dinoseg(*words(data, one, tmp_path / "a")).returncode == 0
    started = []
    for number, host in enumerate(hosts):
        where = ["--nnodes", "2", "--node-rank", number, "--nproc-per-node", 1, "--master-addr", "10.77.0.1"]
        command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run", *where]
        command += ["--master-port", 29511, "-m", "dinoseg", *words(data, two, tmp_path / f"cache-{host}")]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": f"veth-{host[-1]}"}
        started.append(subprocess.Popen([str(word) for word in command], env=environment))
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    for name, value in read_decoder(one).items():
        torch.testing.assert_close(read_decoder(two)[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_an_error_of_the_data_is_told_once(data: Path, tmp_path: Path) -> None:
    ended = dinoseg(*words(tmp_path / "none", tmp_path / "run", tmp_path / "a", "--devices", 2))
    assert ended.returncode == 3
    assert ended.stderr.count("error: ") == 1
