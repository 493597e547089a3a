"""Bags. Kinds: round trip (both storages, all compressions), behaviour on broken and ambiguous bags, determinism."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fmgs_core.stream import SourceConfig, open_source
from fmgs_core.stream.bag import BagSource

SAMPLE = Path(__file__).parents[3] / "samples/dressed_a"
TOPIC, INFO = "/cam/image_raw", "/cam/camera_info"


@pytest.fixture
def pictures(make) -> list[np.ndarray]:
    return [make.gradient(index=i) for i in range(6)]


@pytest.fixture
def stream(make, pictures):
    """Six raw pictures at 10 Hz with their CameraInfo after each, as drivers send them."""
    messages = []
    for i, rgb in enumerate(pictures):
        stamp = make.SECOND + i * make.SECOND // 10
        messages.append((TOPIC, stamp, make.rgb8(stamp, rgb)))
        messages.append((INFO, stamp, make.camera_info(stamp, make.intrinsics(80 + i), 64, 48)))
    return messages


@pytest.mark.parametrize(
    ("storage", "compression", "bare"),
    [
        ("mcap", "", False),
        ("mcap", "", True),
        ("sqlite3", "", False),
        ("sqlite3", "", True),
        ("mcap", "storage", False),
        ("mcap", "storage", True),
        # Only metadata.yaml tells that messages or files are compressed, so these do not come bare.
        ("mcap", "message", False),
        ("mcap", "file", False),
        ("sqlite3", "file", False),
    ],
)
def test_every_picture_in_order(tmp_path, make, stream, pictures, warnings, storage: str, compression: str, bare: bool):
    path = make.write_bag(tmp_path / "bag", stream, storage, compression)
    if bare:
        path = next(p for p in path.iterdir() if p.suffix in (".mcap", ".db3"))
    source = open_source(path, on_warning=warnings.append)
    assert (source.length, source.live, source.camera_is_estimated, source.topic) == (6, False, False, TOPIC)
    assert source.fps == pytest.approx(10)
    frames = make.read_all(source)
    assert [f.stamp_ns for f in frames] == [make.SECOND + i * make.SECOND // 10 for i in range(6)]
    np.testing.assert_array_equal([f.rgb for f in frames], pictures)
    assert [f.camera.K[0, 0] for f in frames] == [80, 81, 82, 83, 84, 85], "the CameraInfo of the picture's own stamp"
    np.testing.assert_array_equal(frames[0].camera.K[:2, 2], [32, 24])
    assert warnings == []


def test_the_folder_may_lack_its_metadata(tmp_path, make, stream, warnings):
    path = make.write_bag(tmp_path / "bag", stream)
    (path / "metadata.yaml").unlink()
    assert len(make.read_all(open_source(path, on_warning=warnings.append))) == 6
    assert warnings == []


def test_split_files_are_read_in_natural_order(tmp_path, make, stream, pictures):
    folder = tmp_path / "split"
    folder.mkdir()
    for number, part in ((2, stream[:4]), (10, stream[4:])):
        file = make.write_bag(tmp_path / f"bag_{number}", part) / f"bag_{number}.mcap"
        shutil.copy(file, folder / f"bag_{number}.mcap")
    np.testing.assert_array_equal([f.rgb for f in make.read_all(open_source(folder))], pictures)


def test_compressed_pictures_and_their_camera_info(tmp_path, make):
    messages = [
        ("/ns/image/compressed", 5, make.jpeg(5, make.gradient())),
        ("/ns/camera_info", 5, make.camera_info(5, make.intrinsics(), 64, 48)),
    ]
    frame = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages)))[0]
    assert np.abs(frame.rgb.astype(int) - make.gradient()).max() <= 6  # JPEG; swapped channels are 100 off
    assert frame.camera.K[0, 0] == 80


def test_newest_camera_info_before_the_picture(tmp_path, make):
    """A lens that zooms once: pictures after it have the new focal length, pictures before it the old one."""
    times = [(INFO, 10, 50.0), (TOPIC, 20, 0), (TOPIC, 30, 0), (INFO, 40, 99.0), (TOPIC, 50, 0), (TOPIC, 60, 0)]
    messages = [
        (topic, t, make.camera_info(t, make.intrinsics(f), 64, 48) if f else make.rgb8(t, make.gradient()))
        for topic, t, f in times
    ]
    frames = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages)))
    assert [f.camera.K[0, 0] for f in frames] == [50, 50, 99, 99]


def test_a_late_camera_info_serves_the_pictures_before_it(tmp_path, make):
    messages = [(TOPIC, t, make.rgb8(t, make.gradient())) for t in range(1, 21)]
    messages.append((INFO, 25, make.camera_info(25, make.intrinsics(70), 64, 48)))
    frames = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages)))
    assert len(frames) == 20 and {f.camera.K[0, 0] for f in frames} == {70.0}


@pytest.mark.parametrize("info", ["none", "zero", "other namespace"])
@pytest.mark.parametrize("focal", [None, 90.0])
def test_unknown_focal_length_is_estimated_aloud(tmp_path, make, warnings, info: str, focal: float | None):
    messages = [(TOPIC, 1, make.rgb8(1, make.gradient()))]
    K = np.zeros((3, 3)) if info == "zero" else make.intrinsics()
    if info != "none":
        messages.append(("/other/camera_info" if "other" in info else INFO, 1, make.camera_info(1, K, 64, 48)))
    config = SourceConfig(focal_px=focal)
    source = open_source(make.write_bag(tmp_path / "bag", messages), config, on_warning=warnings.append)
    assert source.camera_is_estimated is (focal is None)
    camera = make.read_all(source)[0].camera
    np.testing.assert_allclose(camera.K, [[focal or 76.8, 0, 32], [0, focal or 76.8, 24], [0, 0, 1]])
    assert len(warnings) == (focal is None)
    assert focal or ("K[0] == 0" if info == "zero" else "no CameraInfo") in warnings[0]


def test_a_calibrated_bag_keeps_its_focal_length(tmp_path, make, stream, warnings):
    source = open_source(make.write_bag(tmp_path / "bag", stream), SourceConfig(focal_px=500.0), on_warning=warnings.append)
    assert make.read_all(source)[0].camera.K[0, 0] == 80
    assert len(warnings) == 1 and "focal_px=500 is not used" in warnings[0]


def test_a_distorted_camera_is_undistorted(tmp_path, make):
    import cv2

    d = np.array([-0.25, 0.08, 0.001, -0.002, 0.0])
    messages = [(TOPIC, 1, make.rgb8(1, make.gradient())), (INFO, 1, make.camera_info(1, make.intrinsics(), 64, 48, d))]
    frame = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages)))[0]
    K_new = frame.camera.K.copy()
    K_new[:2, 2] -= 0.5
    assert abs(K_new[0, 0] - 80) > 1
    expected = cv2.undistort(make.gradient(), make.intrinsics(), d, newCameraMatrix=K_new)
    np.testing.assert_allclose(frame.rgb.astype(int), expected, atol=1)  # fixed-point tables


def test_each_size_has_its_own_camera(tmp_path, make, warnings):
    sizes = [(48, 64), (24, 32), (48, 64)]
    messages = [(TOPIC, i + 1, make.rgb8(i + 1, make.gradient(*size))) for i, size in enumerate(sizes)]
    messages.insert(0, (INFO, 1, make.camera_info(1, make.intrinsics(), 64, 48)))
    frames = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages), on_warning=warnings.append))
    assert [f.rgb.shape[:2] for f in frames] == sizes
    assert [f.camera.K[0, 0] for f in frames] == [80, 40, 80]
    assert len(warnings) == 2 and "32 x 24 px after 64 x 48" in warnings[0]


def test_topics(tmp_path, make):
    rgb = make.gradient()
    two = make.write_bag(
        tmp_path / "two", [("/a/image", 1, make.rgb8(1, rgb)), ("/b/image", 2, make.rgb8(2, rgb[::-1].copy()))]
    )
    with pytest.raises(ValueError, match=r"expected one image topic.*got /a/image, /b/image"):
        open_source(two)
    with pytest.raises(ValueError, match="'/c/image', got image topics: /a/image, /b/image"):
        open_source(two, SourceConfig(topic="/c/image"))
    frames = make.read_all(open_source(two, SourceConfig(topic="/b/image")))
    np.testing.assert_array_equal(frames[0].rgb, rgb[::-1])


def test_a_bag_without_pictures(tmp_path, make):
    path = make.write_bag(tmp_path / "bag", [(INFO, 1, make.camera_info(1, make.intrinsics(), 64, 48))])
    with pytest.raises(ValueError, match=r"expected one image topic.*got none"):
        open_source(path)


def test_depth_pictures_are_refused(tmp_path, make):
    depth = make.image(1, np.zeros(64 * 48 * 2, np.uint8), "16UC1", width=64, height=48, step=128)
    with pytest.raises(ValueError, match=r"got '16UC1' .a depth or 16-bit picture"):
        open_source(make.write_bag(tmp_path / "bag", [(TOPIC, 1, depth)]))


def test_damaged_pictures_are_left_out(tmp_path, make, warnings):
    good, bad = make.jpeg(1, make.gradient()), make.jpeg(2, make.gradient())
    bad.data = bad.data[:20]
    messages = [("/i/compressed", 1, good), ("/i/compressed", 2, bad), ("/i/compressed", 3, make.jpeg(3, make.gradient()))]
    frames = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages), on_warning=warnings.append))
    assert [f.stamp_ns for f in frames] == [1, 3]
    assert any("the picture of 2 ns is left out" in w for w in warnings)


def test_a_bag_of_nothing_but_damage_is_refused(tmp_path, make):
    messages = []
    for t in range(1, 31):
        bad = make.jpeg(t, make.gradient())
        bad.data = bad.data[:20]
        messages.append(("/i/compressed", t, bad))
    with pytest.raises(ValueError, match="10 unreadable parts in a row"):
        open_source(make.write_bag(tmp_path / "bag", messages), on_warning=lambda _: None)


def test_frames_that_step_back_in_time_are_left_out(tmp_path, make, warnings):
    stamps = [10, 20, 15, 20, 30]
    messages = [(TOPIC, i + 1, make.rgb8(s, make.gradient())) for i, s in enumerate(stamps)]
    frames = make.read_all(open_source(make.write_bag(tmp_path / "bag", messages), on_warning=warnings.append))
    assert [f.stamp_ns for f in frames] == [10, 20, 30]
    assert any("2 frames that stepped back" in w for w in warnings)


def test_headers_without_a_stamp_take_the_recorders(tmp_path, make):
    messages = [(TOPIC, t, make.rgb8(0, make.gradient())) for t in (7, 9)]
    assert [f.stamp_ns for f in make.read_all(open_source(make.write_bag(tmp_path / "bag", messages)))] == [7, 9]


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
@pytest.mark.parametrize("content", [b"", b"no bag at all, but some text that is longer than any header would be"])
def test_files_that_are_no_bags(tmp_path, suffix: str, content: bytes):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"broken{suffix}: expected an .* bag, got"):
        open_source(path)


@pytest.mark.parametrize("with_metadata", [False, True])
def test_a_cut_mcap_gives_its_complete_part(tmp_path, make, warnings, with_metadata: bool):
    folder = tmp_path / "cut"
    shutil.copytree(SAMPLE, folder)
    file = folder / "dressed_a.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if not with_metadata:
        (folder / "metadata.yaml").unlink()
    frames, whole = make.read_all(open_source(folder, on_warning=warnings.append)), make.read_all(open_source(SAMPLE))
    # rosbags writes chunks of 1 MiB; half of 3 MB holds one of them whole, a third of the pictures.
    assert 25 < len(frames) < 50
    assert all((a.rgb == b.rgb).all() and a.stamp_ns == b.stamp_ns for a, b in zip(frames, whole, strict=False))
    assert any("cut or not closed" in w for w in warnings)


def test_zeros_behind_the_last_write_are_not_read(tmp_path, make, warnings):
    """As a file system leaves them after a power cut: cut between two records, then zeros."""
    data = (SAMPLE / "dressed_a.mcap").read_bytes()
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: len(data) // 2])
    make.read_all(open_source(path, on_warning=warnings.append))
    complete = int(warnings[0].split()[-2])
    path.write_bytes(data[:complete] + bytes(4096))
    assert len(make.read_all(open_source(path, on_warning=warnings.append))) > 25
    assert f"the complete part is read, {complete} bytes" in warnings[-1]


@pytest.mark.parametrize("keep", [9, 20, 300])
def test_an_mcap_cut_in_its_first_chunk(tmp_path, keep: int):
    path = tmp_path / "stub.mcap"
    path.write_bytes((SAMPLE / "dressed_a.mcap").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"stub\.mcap"):
        open_source(path, on_warning=lambda _: None)


def test_a_cut_sqlite3_bag(tmp_path, make, pictures, warnings):
    messages = [(TOPIC, i, make.rgb8(i, make.gradient(240, 320, i))) for i in range(1, 30)]
    file = make.write_bag(tmp_path / "bag", messages, "sqlite3") / "bag.db3"
    path = tmp_path / "cut.db3"
    path.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    try:
        frames = make.read_all(open_source(path, on_warning=warnings.append))
    except ValueError as error:
        assert "cut.db3: expected an sqlite3 bag" in str(error)
    else:
        assert 0 < len(frames) < 29 and warnings


def test_the_same_bag_gives_the_same_frames(make):
    first, second = (make.read_all(open_source(SAMPLE)) for _ in range(2))
    assert len(first) == 100
    assert all(a.stamp_ns == b.stamp_ns and (a.rgb == b.rgb).all() for a, b in zip(first, second, strict=True))


def test_the_sample_is_the_sequence(make, shared):
    from fmgs_core.stream.sequence import Sequence

    truth = Sequence(shared / "gt/dressed_a").split("train")
    frames = make.read_all(open_source(SAMPLE))
    assert [f.stamp_ns for f in frames] == truth.stamps_ns.tolist()
    np.testing.assert_allclose(frames[0].camera.K, truth.cameras[0].K, rtol=1e-12)
    difference = frames[50].rgb.astype(float) - truth.frame(50).rgb
    # JPEG 92 with halved chroma: measured 2.1 levels rms; the second next frame is 19.
    assert np.sqrt((difference**2).mean()) < 4


@pytest.mark.parametrize("bag", ["dressed_a", "dressed_a_raw256", "iper_turn"])
def test_bags_of_a_real_recorder(make, shared, warnings, bag: str):
    source = BagSource(shared / "bags" / bag, on_warning=warnings.append)
    frames = make.read_all(source)
    assert len(frames) == source.length == {"dressed_a": 100, "dressed_a_raw256": 20, "iper_turn": 53}[bag]
    assert source.fps == pytest.approx(15) and not source.camera_is_estimated and warnings == []
