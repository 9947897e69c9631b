from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from samner.errors import ModelError, SamnerError
from samner.merging import LoraAdapter, Merger
from samner.merging.stream import DeltaFile, TensorDeltas, write_delta

Make = Callable[..., Path]

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
matrices = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=finite | st.just(0.0),
    fill=st.just(0),
)
vectors = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), matrices, max_size=4)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A module that is stored sparse and one that is stored dense."""
    sparse = torch.zeros(30, 20)
    sparse[3, :5] = torch.arange(1.0, 6.0)
    write_delta(TensorDeltas({"sparse": sparse, "dense": torch.ones(7, 5)}), tmp_path / "delta.safetensors")
    return tmp_path / "delta.safetensors"


@given(vectors)
def test_every_bit_comes_back(drawn: dict[str, np.ndarray]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "delta.safetensors"
        write_delta(TensorDeltas({name: torch.from_numpy(matrix) for name, matrix in drawn.items()}), file)
        read = DeltaFile.open(file)
        assert dict(read.shapes) == {name: matrix.shape for name, matrix in sorted(drawn.items())}
        for name, matrix in read.dense():
            expected = drawn[name] + np.float32(0)  # negative zeros become zeros
            np.testing.assert_array_equal(matrix.numpy().view(np.int32), expected.view(np.int32))


def test_a_merge_comes_back(make_lora: Make, tmp_path: Path) -> None:
    with Merger([LoraAdapter.load(make_lora(seed)) for seed in (0, 1)], "ties", density=0.1) as merger:
        write_delta(merger, tmp_path / "delta.safetensors")
        read = DeltaFile.open(tmp_path / "delta.safetensors")
        assert read.shapes == merger.shapes and not read.low_rank
        merged = dict(merger.dense())
        for (name, matrix), expected in zip(read.dense(), merged, strict=True):
            assert name == expected and torch.equal(matrix, merged[name])
        wanted = list(merged)[3:0:-1]
        assert [name for name, _ in read.dense(wanted)] == wanted
    dense = 4 * sum(matrix.numel() for matrix in merged.values())
    assert (tmp_path / "delta.safetensors").stat().st_size < 0.35 * dense


def test_it_is_never_much_larger_than_dense(tmp_path: Path) -> None:
    write_delta(TensorDeltas({"full": torch.randn(100, 100)}), tmp_path / "delta.safetensors")
    assert (tmp_path / "delta.safetensors").stat().st_size < 40_000 + 1_000
    assert load_file(tmp_path / "delta.safetensors").keys() == {"full.dense"}


def test_other_types_devices_and_layouts_of_memory_are_taken_as_float32(tmp_path: Path) -> None:
    matrix = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    write_delta(TensorDeltas({"m": matrix.T}), tmp_path / "delta.safetensors")
    ((_, read),) = DeltaFile.open(tmp_path / "delta.safetensors").dense()
    assert torch.equal(read, matrix.detach().T.float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    matrix = torch.ones(3, 3)
    matrix[1, 2] = value
    with pytest.raises(SamnerError, match="the task vector of layer holds NaN or infinite values"):
        write_delta(TensorDeltas({"layer": matrix}), tmp_path / "delta.safetensors")
    assert not list(tmp_path.iterdir())


def test_they_have_no_factors(written: Path) -> None:
    with pytest.raises(TypeError, match="sparse has no factors"):
        DeltaFile.open(written).factors("sparse")


def test_a_full_disk_leaves_nothing_and_names_the_file(
    tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with small_disk(10_000), pytest.raises(OSError, match=r"delta\.safetensors"):
        write_delta(TensorDeltas({"m": torch.randn(100, 100)}), tmp_path / "delta.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_one_leaves_the_file_that_was_there(written: Path) -> None:
    class Interrupted(TensorDeltas):
        def dense(self, modules: object = None) -> Iterator[tuple[str, torch.Tensor]]:
            yield "a", torch.ones(2, 2)
            raise KeyboardInterrupt

    before = written.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_delta(Interrupted({"a": torch.ones(2, 2), "b": torch.ones(2, 2)}), written)
    assert written.read_bytes() == before and len(list(written.parent.iterdir())) == 1


class TestOnceOpened:
    def same(self, read: DeltaFile, expected: dict[str, torch.Tensor]) -> None:
        assert read.keys() == expected.keys()
        assert all(torch.equal(read[module], dense) for module, dense in expected.items())

    def test_the_file_may_go_or_another_take_its_name(self, written: Path) -> None:
        read = DeltaFile.open(written)
        expected = dict(read)
        write_delta(TensorDeltas({"other": torch.ones(2, 2)}), written)
        self.same(read, expected)
        written.unlink()
        self.same(read, expected)

    def test_so_it_may_where_an_open_file_cannot_be_removed(
        self, written: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = dict(DeltaFile.open(written))
        monkeypatch.delattr(os, "pread")
        read = DeltaFile.open(written)
        written.unlink()
        self.same(read, expected)

    @pytest.mark.parametrize("size", [None, 0, 300])
    def test_a_file_that_was_written_over_is_told(self, written: Path, size: int | None) -> None:
        read = DeltaFile.open(written)
        with written.open("r+b") as file:
            file.write(b"12345678") if size is None else file.truncate(size)
        os.utime(written, ns=(1, 1))  # however coarse the clock of the file system is
        with pytest.raises(ModelError, match=r"delta\.safetensors: can no longer be read \(it was written over"):
            read["sparse"]

    def test_threads_read_it_at_once(self, tmp_path: Path) -> None:
        matrices = {f"m{i}": torch.randn(40, 40) * (torch.rand(40, 40) < 0.3) for i in range(20)}
        write_delta(TensorDeltas(matrices), tmp_path / "delta.safetensors")
        read = DeltaFile.open(tmp_path / "delta.safetensors")
        with ThreadPoolExecutor(8) as pool:
            for module, dense in pool.map(lambda m: (m, read[m]), [*matrices] * 5):
                assert torch.equal(dense, matrices[module])

    def test_a_copy_needs_no_file(self, written: Path) -> None:
        read = DeltaFile.open(written)
        expected, pickled = dict(read), pickle.dumps(read)
        written.unlink()
        self.same(pickle.loads(pickled), expected)
        self.same(pickle.loads(pickle.dumps(pickle.loads(pickled))), expected)

    def test_it_is_closed_with_the_last_reference(self, written: Path) -> None:
        before = len(os.listdir("/dev/fd"))
        read = DeltaFile.open(written)
        assert len(os.listdir("/dev/fd")) == before + 1
        del read
        assert len(os.listdir("/dev/fd")) == before


class TestDamage:
    def refused(self, file: Path, message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            list(DeltaFile.open(file).dense())
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none", "no such file")

    @pytest.mark.parametrize("size", [0, 4, 8, 100, -1])
    def test_truncated(self, written: Path, size: int) -> None:
        written.write_bytes(written.read_bytes()[:size])
        self.refused(written, "not a complete safetensors file")

    def test_a_header_of_many_brackets(self, written: Path) -> None:
        content = written.read_bytes()
        length = int.from_bytes(content[:8], "little")
        deep = b'{"deep":' + b"[" * 3000 + b"]" * 3000 + b',"dtype"'
        header = content[8 : 8 + length].replace(b'{"dtype"', deep, 1)
        written.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
        with pytest.raises(ModelError, match="not a complete safetensors file"):
            DeltaFile.open(written)
        shapes = {"format": "samner-delta-1", "shapes": "[" * 3000}
        save_file({"a.dense": torch.ones(2, 2)}, written, shapes)
        with pytest.raises(ModelError, match="safetensors file|does not say the shapes"):
            DeltaFile.open(written)

    def test_longer(self, written: Path) -> None:
        written.write_bytes(written.read_bytes() + b"x")
        self.refused(written, "not a complete safetensors file")

    @pytest.mark.parametrize("content", [b"cos\nsystem\n", b"\xff" * 200, b"{}" * 100])
    def test_something_else(self, written: Path, content: bytes) -> None:
        written.write_bytes(content)
        self.refused(written, "not a complete safetensors file")

    def test_another_safetensors_file(self, written: Path) -> None:
        save_file({"m": torch.ones(2, 2)}, written)
        self.refused(written, "is not a file of task vectors")

    def test_every_flipped_bit_of_the_header_is_noticed_or_harmless(self, written: Path) -> None:
        content = written.read_bytes()
        expected = dict(DeltaFile.open(written).dense())
        length = 8 + int.from_bytes(content[:8], "little")
        for position in range(length):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            written.write_bytes(flipped)
            try:
                read = dict(DeltaFile.open(written).dense())
            except ModelError:
                continue
            # a name may read differently; what is under it may not
            assert sorted(tensor.tolist() for tensor in read.values()) == sorted(t.tolist() for t in expected.values())

    def rewrite(self, file: Path, metadata: dict[str, str] | None = None, **tensors: torch.Tensor | None) -> None:
        with safe_open(file, "pt") as opened:
            known = opened.metadata()
        changed = {name.replace("_", "."): tensor for name, tensor in tensors.items()}
        kept = {name: tensor for name, tensor in (load_file(file) | changed).items() if tensor is not None}
        save_file(kept, file, {**known, **(metadata or {})})

    def test_a_bit_of_the_mask(self, written: Path) -> None:
        mask = load_file(written)["sparse.mask"]
        mask[40] ^= 1
        self.rewrite(written, sparse_mask=mask)
        self.refused(written, "damaged, the values of module sparse are not as they should be")

    def test_a_bit_beyond_the_mask(self, written: Path) -> None:
        tensors = load_file(written)
        tensors["sparse.mask"][-1] ^= 1
        self.rewrite(written, sparse_mask=tensors["sparse.mask"], sparse_values=torch.ones(6))
        self.refused(written, "damaged, the values of module sparse are not as they should be")

    def test_values_that_are_no_numbers(self, written: Path) -> None:
        self.rewrite(written, dense_dense=torch.full((7, 5), torch.nan))
        self.refused(written, "damaged, the values of module dense are not as they should be")
        self.rewrite(written, dense_dense=torch.ones(7, 5), sparse_values=torch.full((5,), torch.inf))
        self.refused(written, "damaged, the values of module sparse are not as they should be")

    @pytest.mark.parametrize(
        ("name", "tensor", "message"),
        [
            ("sparse_mask", torch.zeros(75, dtype=torch.uint8), "module sparse is not stored as it should be"),
            ("sparse_mask", None, "module sparse is not stored as it should be"),
            ("sparse_values", None, "module sparse is not stored as it should be"),
            ("sparse_values", torch.ones(5, dtype=torch.float16), "module sparse is not stored as it should be"),
            ("sparse_values", torch.ones(5, 1), "module sparse is not stored as it should be"),
            ("dense_dense", torch.ones(5, 7), "module dense is not stored as it should be"),
            ("other_mask", torch.ones(5), r"other\.mask belongs to no module"),
        ],
    )
    def test_tensors_that_do_not_fit(self, written: Path, name: str, tensor: torch.Tensor, message: str) -> None:
        self.rewrite(written, **{name: tensor})
        self.refused(written, message)

    @pytest.mark.parametrize(
        "shapes",
        ["", "[]", "{", '{"sparse": 3}', '{"sparse": [1, 2, 3]}', '{"sparse": ["a", 2]}', '{"sparse": [-1, 2]}'],
    )
    def test_shapes_that_are_none(self, written: Path, shapes: str) -> None:
        self.rewrite(written, {"shapes": shapes})
        self.refused(written, "damaged, it does not say the shapes")

    def test_shapes_that_do_not_fit(self, written: Path) -> None:
        self.rewrite(written, {"shapes": json.dumps({"sparse": [20, 300], "dense": [7, 5]})})
        self.refused(written, "module sparse is not stored as it should be")
