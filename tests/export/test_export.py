"""A bundle says what torch says, in a process without torch, and nothing is kept that does not."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

import dinoseg
from dinoseg.backbones.catalog import DINOV3_LICENSE
from dinoseg.backbones.graphs import OPSET as WRITTEN
from dinoseg.backbones.graphs import write_graph
from dinoseg.cli import main
from dinoseg.cli.exporting import BundlePrecision as Accepted
from dinoseg.data.cases.prints import TrainingCases, print_case
from dinoseg.data.dicom import read_segmentation, read_series
from dinoseg.data.images import read_image, write_image
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.errors import DinosegError, DiskFullError, LicenseError, OutputError, RunError, UsageError
from dinoseg.export import export
from dinoseg.export import exporter as exporter_module
from dinoseg.inference.likeness import find_trained, to_upright
from dinoseg.model.bundles import LICENSE, OPSET, PIPELINE, BundlePrecision, digest_pipeline, read_pipeline
from dinoseg.model.folder import TRAINING_CASES
from dinoseg.sharing import push
from tests.data.dicom.drawn import draw_series
from tests.export.runs import FOUR, VOLUMES, make_run
from tests.inference.volumes import SPACING, make_volume, save_nifti

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        case = draw_phantom("endoscopy", size=(60, 80), seed=number)
        write_image(folder / f"case{number}.png", case.image)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("light") / "run", "segdino-v1", classes=FOUR)


@pytest.fixture(scope="module")
def bundle(run: Path, images: Path) -> Path:
    out = run.with_name("bundle")
    export(run, out, examples=[images])
    return out


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    """Graphs are those of `bundle`, whatever the model: an export takes seconds."""

    def copy(name: str) -> None:
        def write(model: object, path: Path, *, size: int) -> None:
            path.write_bytes((bundle / name).read_bytes())

        monkeypatch.setattr(exporter_module, f"write_{name.partition('.')[0]}", write)

    copy("backbone.onnx")
    copy("decoder.onnx")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    for number in range(2):
        save_nifti(folder / f"p{number}.nii.gz", make_volume((9, 20, 24), seed=number))
    return folder


@pytest.fixture(scope="module")
def volume_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads the image itself, and the slices around, under all symmetries."""
    place = tmp_path_factory.mktemp("guided") / "run"
    return make_run(place, "guided", symmetries=8, slice_spacing=1.6 * SPACING[0], **VOLUMES)


@pytest.fixture(scope="module")
def volume_bundle(volume_run: Path) -> Path:
    out = volume_run.with_name("bundle")
    export(volume_run, out)
    return out


def _predict_apart(bundle: Path, images: Path, out: Path, engine: str = "onnxruntime", *options: str) -> dict:
    words = [str(bundle), str(images), str(out), engine, *options]
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.export.without_torch", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def _read_masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "masks").glob("*.*"))}


def test_a_bundle_predicts_the_masks_of_its_run_without_torch(
    run: Path, bundle: Path, images: Path, tmp_path: Path
) -> None:
    facts = _predict_apart(bundle, images, tmp_path / "bundle")
    assert facts["code"] == 0
    assert facts["classes"] == len(FOUR)
    assert len(facts["mask"]) > 1
    assert main(["predict", str(run), str(images), "--out", str(tmp_path / "run")]) == 0
    expected = _read_masks(tmp_path / "run")
    assert _read_masks(tmp_path / "bundle") == expected
    assert len(expected) == 3
    made = json.loads((tmp_path / "bundle" / "predictions.json").read_text())["model"]
    assert made["engine"] == "onnxruntime"
    assert made["decoder_digest"] == dinoseg.load(run).describe()["decoder_digest"]


def test_a_bundle_is_served_without_torch(run: Path, bundle: Path, images: Path, tmp_path: Path) -> None:
    image, out = images / "case0.png", tmp_path / "mask.png"
    words = [sys.executable, "-m", "tests.serving.without_torch", str(bundle), str(image), str(out)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (model,) = json.loads(ended.stdout.splitlines()[-1])
    assert (model["name"], model["method"]) == ("bundle", dinoseg.load(run).describe()["method"])
    assert model["licence"] == read_pipeline(bundle).backbone.license
    dinoseg.inference.predict_files(run, image, tmp_path / "run")
    assert out.read_bytes() == (tmp_path / "run" / "masks" / "case0.png").read_bytes()


def test_volumes_read_the_slices_around_without_torch(
    volume_run: Path, volume_bundle: Path, volumes: Path, tmp_path: Path
) -> None:
    (decoder,) = read_pipeline(volume_bundle).decoders
    assert (decoder.reach, decoder.slice_spacing) == (1, 1.6 * SPACING[0])
    assert _predict_apart(volume_bundle, volumes, tmp_path / "bundle")["code"] == 0
    made = json.loads((tmp_path / "bundle" / "predictions.json").read_text())["settings"]
    assert made["symmetries"] == 8
    dinoseg.inference.predict_files(volume_run, volumes, tmp_path / "run", batch_size=2)
    for number in range(2):
        found, expected = (
            dinoseg.data.volumes.read_volume(tmp_path / name / "masks" / f"p{number}.nii.gz").array
            for name in ("bundle", "run")
        )
        assert 0 < np.count_nonzero(expected) < expected.size
        assert np.mean(found == expected) > 0.999


def test_dicom_goes_in_and_out_without_torch(volume_run: Path, volume_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    draw_series(tmp_path / "ct", array=make_volume((6, 20, 24)).array[0].astype(np.uint16))
    words = (volume_bundle, tmp_path / "ct", tmp_path / "bundle", "onnxruntime", "--format", "dicom-seg")
    assert _predict_apart(*words)["code"] == 0
    reference = read_series(tmp_path / "ct").reference
    found = read_segmentation(next((tmp_path / "bundle" / "masks").glob("*.dcm")), reference).array
    expected = dinoseg.predict(volume_run, tmp_path / "ct").mask
    assert np.mean(found == expected) > 0.999


def test_openvino_says_the_same(run: Path, bundle: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    assert _predict_apart(bundle, images, tmp_path / "bundle", "openvino")["code"] == 0
    dinoseg.inference.predict_files(run, images, tmp_path / "run")
    for name in _read_masks(tmp_path / "run"):
        found, expected = (
            np.asarray(PillowImage.open(tmp_path / kind / "masks" / name)) for kind in ("bundle", "run")
        )
        assert np.mean(found == expected) > 0.999


def test_a_bundle_states_what_is_between_a_file_and_its_mask(
    run: Path, bundle: Path, volume_bundle: Path
) -> None:
    pipeline = read_pipeline(bundle)
    assert pipeline.opset == OPSET == WRITTEN
    assert set(pipeline.files) == {"backbone.onnx", "decoder.onnx", LICENSE, "README.md"}
    assert pipeline.comparison.images == 3
    assert pipeline.comparison.logits <= 1e-3
    assert pipeline.comparison.dice >= 0.999
    assert pipeline.settings.backbone.name == "dinov3_vit-weights"  # no folder of this machine
    assert str(run.parent) not in (bundle / PIPELINE).read_text()
    assert pipeline.steps["window"]["overlap"] == 0.25
    stated = [read_pipeline(each).steps["symmetries"] for each in (bundle, volume_bundle)]
    assert [each["used"] for each in stated] == [1, 8]
    assert [each["mirrored"] for each in stated[1]["of"][:4]] == [[], [-1], [-2], [-2, -1]]
    assert pipeline.steps["mask"].startswith("the largest logit")
    assert "differ from those of PyTorch" in (bundle / "README.md").read_text()


def test_its_graphs_have_standard_operators_and_any_batch(bundle: Path, volume_bundle: Path) -> None:
    import onnx

    for folder in (bundle, volume_bundle):
        for name in ("backbone.onnx", "decoder.onnx"):
            model = onnx.load(folder / name)
            onnx.checker.check_model(model, full_check=True)
            assert {node.domain for node in model.graph.node} == {""}
            assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
            assert {each.type.tensor_type.shape.dim[0].dim_param for each in model.graph.input} == {"batch"}


def test_windows_of_its_size_are_taken_and_others_are_refused(bundle: Path, images: Path) -> None:
    model = dinoseg.load(bundle)
    first = sorted(images.iterdir())[0]
    assert dinoseg.predict(model, first, window=32).mask.shape == (60, 80)
    with pytest.raises(
        UsageError, match=r"takes images or windows of 32 px, and 48 px are asked for; choose --window 32"
    ):
        dinoseg.predict(model, first, window=48)


def test_evaluate_and_info_take_a_bundle(
    bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, path in enumerate(sorted(images.iterdir())):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        pixels = np.asarray(PillowImage.open(path))
        PillowImage.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        PillowImage.fromarray((pixels[..., 0] // 64).astype(np.uint8)).save(
            tmp_path / "masks" / f"{number}.png"
        )
    names = "".join(f"  {index}: {name}\n" for index, name in FOUR.items())
    (tmp_path / "dataset.yaml").write_text(f"classes:\n{names}")
    assert main(["evaluate", str(bundle), str(tmp_path), "--split", "all"]) == 0
    assert main(["info", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "ONNX opset" in shown
    assert "licence of the backbone: unstated" in shown


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--engine", "tensorrt"], "is not one of 'torch', 'onnxruntime', 'openvino'"),
        (
            ["--precision", "bfloat16"],
            "onnxruntime computes in float32; precision bfloat16 needs --engine openvino",
        ),
        (["--device", "cuda"], "is a bundle, which is computed on the processor; leave --device out"),
        (["--window", "48"], "windows of 32 px, and 48 px are asked for; choose --window 32, or export"),
        (["--backbone", "elsewhere"], "is a bundle, which holds its backbone; leave --backbone out"),
    ],
)
def test_what_a_bundle_does_not_take_is_one_line(
    bundle: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    reason: str,
) -> None:
    assert main(["predict", str(bundle), str(images), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert reason in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_engine_is_refused_in_python(bundle: Path, run: Path) -> None:
    with pytest.raises(UsageError, match="engine 'auto' is unknown; accepted are onnxruntime, openvino"):
        dinoseg.load(bundle, engine="auto")
    with pytest.raises(UsageError, match=r"threads is for bundles, and .* is none"):
        dinoseg.load(run, threads=2)


def _copy(bundle: Path, place: Path) -> Path:
    place.mkdir()
    for path in bundle.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


def _rewrite(bundle: Path, *, sealed: bool = True, **changes: object) -> None:
    content = {**json.loads((bundle / PIPELINE).read_text()), **changes}
    if sealed:
        del content["digest"]
        content["digest"] = digest_pipeline(content)
    (bundle / PIPELINE).write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["backbone.onnx", "decoder.onnx", LICENSE, "README.md", PIPELINE])
def test_a_changed_byte_is_noticed(bundle: Path, tmp_path: Path, name: str) -> None:
    path = _copy(bundle, tmp_path / "copy") / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=rf"{name} (is damaged|was changed)[^\n]*$"):
        dinoseg.load(path.parent)


def test_a_missing_licence_is_noticed(bundle: Path, tmp_path: Path) -> None:
    copy = _copy(bundle, tmp_path / "copy")
    (copy / LICENSE).unlink()
    with pytest.raises(RunError, match=f"is incomplete: {LICENSE} is missing; copy the whole bundle again"):
        dinoseg.load(copy)
    files = json.loads((copy / PIPELINE).read_text())["files"]
    _rewrite(copy, files={name: digest for name, digest in files.items() if name != LICENSE})
    with pytest.raises(RunError, match=f"has no digest of {LICENSE}"):
        dinoseg.load(copy)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"opset": OPSET + 1}, f"has graphs of opset {OPSET + 1}, this dinoseg knows those up to {OPSET}"),
        ({"format": 2}, "has format 2, this dinoseg reads 1; upgrade"),
        ({"size": 0}, "is damaged"),
        ({"decoders": []}, "is damaged"),
        ({"settings": {"decoder": {"method": "unheard"}}}, "needs method 'unheard'"),
    ],
)
def test_a_pipeline_of_another_kind_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    copy = _copy(bundle, tmp_path / "copy")
    _rewrite(copy, **changes)
    with pytest.raises(RunError, match=reason):
        dinoseg.load(copy)


def test_a_graph_of_an_opset_that_the_engine_does_not_know_is_one_line(bundle: Path, tmp_path: Path) -> None:
    import onnx

    copy = _copy(bundle, tmp_path / "copy")
    model = onnx.load(copy / "decoder.onnx")
    model.opset_import[0].version = 999
    (copy / "decoder.onnx").write_bytes(model.SerializeToString())
    files = read_pipeline(bundle).files
    digest = exporter_module.hash_file(copy / "decoder.onnx")
    _rewrite(copy, files={**files, "decoder.onnx": digest})
    with pytest.raises(
        RunError, match=r"decoder.onnx cannot be read by onnxruntime [^\n]*export the run again$"
    ):
        dinoseg.load(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no model \(model/config.json\)"):
        dinoseg.load(tmp_path)


def _set_license(run: Path) -> Path:
    """The backbone of the run says that it is Meta's."""
    place = run.parent / "dinov3_vit-weights"
    (place / "README.md").write_text(f"---\nlicense: other\nlicense_name: {DINOV3_LICENSE}\n---\n")
    return place


def test_the_licence_of_the_backbone_goes_along_and_is_asked_for(tmp_path: Path, copied: None) -> None:
    run = make_run(tmp_path / "run", "segdino-v1", classes=FOUR)
    place = _set_license(run)
    with pytest.raises(LicenseError, match=r"adds a copy of its licence.*name it with --license-file"):
        export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    (place / "LICENSE.md").write_text("All of the words.")
    export(run, tmp_path / "bundle")
    assert (tmp_path / "bundle" / LICENSE).read_text() == "All of the words.\n"
    with pytest.raises(LicenseError, match="repeat the command with --accept-license"):
        dinoseg.load(tmp_path / "bundle")
    assert dinoseg.load(tmp_path / "bundle", accept_license=True).pipeline.backbone.license == DINOV3_LICENSE
    dinoseg.load(tmp_path / "bundle")  # remembered


def test_training_cases_are_known_again(tmp_path: Path, copied: None, images: Path) -> None:
    run = make_run(tmp_path / "run", "segdino-v1", classes=FOUR)
    shown = read_image(sorted(images.iterdir())[0])
    cases = TrainingCases.of([print_case(to_upright(shown))])
    (run / "model" / TRAINING_CASES).write_text(json.dumps(cases.describe()))
    export(run, tmp_path / "bundle")
    assert TRAINING_CASES in read_pipeline(tmp_path / "bundle").files
    model = dinoseg.load(tmp_path / "bundle")
    assert find_trained(model, shown) == "same"
    assert find_trained(model, read_image(sorted(images.iterdir())[1])) is None


def test_a_bundle_that_says_something_else_is_not_kept(tmp_path: Path, copied: None) -> None:
    run = make_run(tmp_path / "run", "segdino-v1", classes=FOUR, seed=1)
    with pytest.raises(
        RunError, match=r"float32 bundle was not kept: on 6 drawn pictures it differs from torch"
    ):
        export(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_full_disk_leaves_nothing(
    run: Path, tmp_path: Path, copied: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(DiskFullError, match="the disk is full; free some space"):
        export(run, tmp_path / "bundle")
    with pytest.raises(DiskFullError, match="the disk is full; free some space"):
        write_graph(nn.ReLU(), [torch.zeros(2, 3)], tmp_path / "graph.onnx", inputs=["x"], outputs=["y"])
    assert list(tmp_path.iterdir()) == []


def test_only_a_bundle_of_ours_is_replaced(run: Path, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"is not empty; .*--overwrite"):
        export(run, bundle)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"mine\.txt was not written by dinoseg"):
        export(run, tmp_path, overwrite=True)


def test_what_is_asked_for_wrongly_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="precision 'int4' is not accepted; choose float32, float16, int8"):
        export(run, tmp_path / "out", precision="int4")
    with pytest.raises(UsageError, match="int8 is calibrated on images like those to come"):
        export(run, tmp_path / "out", precision="int8")
    with pytest.raises(RunError, match="holds no model"):
        export(tmp_path, tmp_path / "out")


def test_a_missing_library_names_its_extra(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, run: Path, tmp_path: Path
) -> None:
    import dinoseg.extras as extras

    missing = {"openvino", "torch"}
    found = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in missing else found(name))
    with pytest.raises(
        DinosegError, match=r"engine openvino needs openvino.*pip install 'dinoseg\[openvino\]'"
    ):
        dinoseg.load(bundle, engine="openvino")
    with pytest.raises(DinosegError, match=r"unlike a bundle, needs torch.*pip install 'dinoseg\[train\]'"):
        dinoseg.load(run)


def test_the_command_line_accepts_the_precisions_that_there_are() -> None:
    assert Accepted == BundlePrecision


def test_a_bundle_is_pushed_with_a_page_of_its_own(bundle: Path, images: Path, tmp_path: Path) -> None:
    """The page is in the bundle's list of digests, which is sealed anew; the graphs are the same bytes."""
    share = tmp_path / "share"
    pushed = push(bundle, share, license_name="apache-2.0")
    assert {"backbone.onnx", "decoder.onnx", PIPELINE, LICENSE} <= set(pushed.files)
    assert "library_name: dinoseg" in (share / "README.md").read_text()
    read_pipeline(share)
    image = next(iter(images.iterdir()))
    found = dinoseg.predict(f"file://{share}", image, probabilities=True).probabilities
    assert np.array_equal(found, dinoseg.predict(bundle, image, probabilities=True).probabilities)
    assert (share / "backbone.onnx").read_bytes() == (bundle / "backbone.onnx").read_bytes()
