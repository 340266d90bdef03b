"""Encoders that never taught: what is read from each, and the vectors that ship."""

import csv
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper

from usad_workbench.core.encoders.students import PLACEBOS_FOLDER
from usad_workbench.sample_data import sample_data_folder
from usad_workbench.sample_data.placebos import (
    PLACEBOS,
    VECTORS_FILE,
    FloatArray,
    open_network,
    read_basic_pitch,
    read_dnsmos,
    read_silero,
    read_swift_f0,
)


class Fake:
    """A network that answers by a rule, and keeps what it was asked."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule
        self.asked: list[dict[str, Any]] = []

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[FloatArray]:
        self.asked.append(inputs)
        return self.rule(inputs)


def test_every_sample_clip_has_one_vector_of_each() -> None:
    table = pq.read_table(PLACEBOS_FOLDER / VECTORS_FILE)
    with (sample_data_folder() / "manifest.csv").open(encoding="utf-8", newline="") as file:
        clips = [row["clip_id"] for row in csv.DictReader(file)]
    assert table.column("encoder").unique().to_pylist() == [one.name for one in PLACEBOS]
    assert table.column("family") == table.column("encoder")
    for name in [one.name for one in PLACEBOS]:
        of_one = table.filter(np.array(table.column("encoder").to_pylist()) == name)
        assert of_one.column("clip_id").to_pylist() == clips
        vectors = np.array(of_one.column("vector").to_pylist())
        assert np.isfinite(vectors).all()
        assert len(np.unique(vectors, axis=0)) > 0.95 * len(clips)


def test_hidden_tensors_can_be_asked_for() -> None:
    two, one = (
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("two", 2.0), ("one", 1.0))
    )
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "two"], ["h"]),
            helper.make_node("Add", ["h", "one"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [two, one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    network = open_network(model.SerializeToString(), ["h", "y"])
    x = np.array([1, 2, 3], np.float32)
    hidden, out = network.run(["h", "y"], {"x": x})
    np.testing.assert_array_equal(hidden, 2 * x)
    np.testing.assert_array_equal(out, 2 * x + 1)


def test_padding_of_the_last_window_is_not_averaged() -> None:
    """Frame i says i; a clip of 10 frames in a window of 172 averages 0 to 9."""
    frames = np.arange(172, dtype=np.float32)
    wide = [np.repeat(frames[None, :, None], dim, axis=2) for dim in (88, 88, 264)]
    network = Fake(lambda _: wide)
    vector = read_basic_pitch(network, np.ones(2560, np.float32))
    np.testing.assert_array_equal(vector, np.full(440, 4.5))
    (asked,) = network.asked
    (samples,) = asked.values()
    assert samples.shape == (1, 43_844, 1) and samples.sum() == 2560


def test_windows_come_with_the_samples_before_them() -> None:
    """Each window is answered by its own first sample, which is that of 64 before."""
    samples = np.arange(1, 1200, dtype=np.float32)
    network = Fake(lambda x: [np.repeat(x["input"][:, :1], 128, axis=1)[:, None, None, :]])
    vector = read_silero(network, samples)
    windows = network.asked[0]["input"]
    assert windows.shape == (3, 576)
    np.testing.assert_array_equal(windows[1, 64:], samples[512:1024])
    np.testing.assert_array_equal(vector, np.full(128, (0 + samples[448] + samples[960]) / 3))


def test_a_short_clip_is_repeated_or_padded() -> None:
    network = Fake(lambda x: [x["input_1"][:, :4]])
    clip = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(read_dnsmos(network, clip), [1, 2, 3, 1])
    assert network.asked[0]["input_1"].shape == (1, 144_160)
    pitch = Fake(lambda x: [np.stack([x["audio"], 2 * x["audio"]], axis=1)])
    np.testing.assert_allclose(read_swift_f0(pitch, clip), [6 / 1600, 12 / 1600])
    assert pitch.asked[0]["audio"].shape == (1, 1600)
