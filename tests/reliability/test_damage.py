"""An adapter and its card with a byte changed, and safetensors files with headers that are not what they should be."""

from __future__ import annotations

import json
import random
import resource
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from samner import ExpertPool
from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.merging.stream import DeltaFile
from tests.reliability.counts import COUNTS
from tests.reliability.tiny import copied, make_expert

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(1800)]


def test_a_changed_byte_is_found(
    pool_folder: Path, tally: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ExpertPool(copied(pool_folder, tmp_path / "pool"))
    for name in pool.experts:
        pool.remove(name)
    pool.add(make_expert(pool, tmp_path / "small", seed=9, modules=1))
    base = pool.backbone
    monkeypatch.setattr("samner.pool.pool.load_backbone", lambda *_: base)  # verify reads it anew each time
    assert pool.verify() == []
    for file in ("adapter_model.safetensors", "adapter_config.json", "expert.json"):
        row = tally(f"a byte of `{file}` changed, then `verify`")
        path = pool.expert_folder("small") / file
        whole = path.read_bytes()
        for place in range(0, len(whole), COUNTS.flip_step):
            changed = bytearray(whole)
            changed[place] ^= 1 << place % 8
            if file == "expert.json" and _same_json(whole, bytes(changed)):
                continue
            path.write_bytes(changed)
            row.done()
            try:
                problems = pool.verify()
            except Exception as error:
                row.failed(f"{type(error).__name__}", f"byte {place}: {error}")
                continue
            if not problems:
                row.failed("not found", f"byte {place}: {bytes(changed[max(0, place - 20) : place + 20])!r}")
        path.write_bytes(whole)


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


_VALUES = [
    "-1",
    "0",
    "1",
    "18446744073709551615",
    "9223372036854775807",
    "4294967296",
    "1e400",
    '""',
    "null",
    "[]",
    "{}",
]
_TYPES = ["F32", "F16", "BF16", "F64", "I8", "I64", "BOOL", "U8", "F8_E4M3", "F4", "C64", "X"]


def _damaged(whole: bytes, draw: random.Random) -> bytes:
    """A safetensors file with something wrong in its header, in its length, or after it."""
    length = int.from_bytes(whole[:8], "little")
    header, data = whole[8 : 8 + length].decode(), whole[8 + length :]
    stated = None
    for _ in range(draw.choice([1, 1, 2, 4])):
        place = draw.randrange(len(header) + 1)
        match draw.randrange(11):
            case 0:
                header = header[:place] + draw.choice('{}[]",:0-9eE\\\0\n') + header[place + draw.randrange(2) :]
            case 1:
                header = header[:place] + header[place + draw.randrange(1, 30) :]
            case 2:
                number = draw.choice([part for part in header.replace("]", ",").replace("[", ",").split(",") if part])
                header = header.replace(number, draw.choice(_VALUES), 1)
            case 3:
                header = header.replace("F32", draw.choice(_TYPES), draw.randrange(1, 3))
            case 4:
                header = header[:place] + draw.choice(["[", '{"a":']) * draw.choice([10, 5000]) + header[place:]
            case 5:
                header = header[:place] + header[: draw.randrange(len(header) + 1)] + header[place:]
            case 6:
                stated = draw.choice(
                    [0, 1, length - 1, length + 1, 2**31, 2**63 - 1, 2**64 - 1, draw.randrange(2**16)]
                )
            case 7:
                data = data[: draw.randrange(len(data) + 1)]
            case 8:
                data += bytes(draw.randrange(64))
            case 9:
                one, other = (draw.randrange(len(data)) for _ in range(2))
                header = header.replace('"data_offsets":[', f'"data_offsets":[{one},{other}],"x":[', 1)
            case _:
                header = header.replace("lora_A", draw.choice(["lora_B", "lora_\u00c4", "a" * 3000, "lora_A.x"]), 1)
    content = header.encode("utf-8", "replace")
    start = (len(content) if stated is None else stated).to_bytes(8, "little")
    return start + content + data


def test_damaged_headers_are_refused(pool_folder: Path, model_folder: Path, tally: Any, tmp_path: Path) -> None:
    row = tally("safetensors files with damaged headers, read as adapter and as task vectors")
    folder = Path(shutil.copytree(ExpertPool(pool_folder).expert_folder("east"), tmp_path / "adapter"))
    vectors = next(model_folder.glob("*.safetensors"))
    paths = folder / "adapter_model.safetensors", tmp_path / "vectors.safetensors"
    wholes, draw = (paths[0].read_bytes(), vectors.read_bytes()), random.Random(0)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), limits[1]))
    tracemalloc.start()
    try:
        for number in range(COUNTS.headers):
            path = paths[number % 2]
            content = _damaged(wholes[number % 2], draw)
            path.write_bytes(content)
            row.done()
            tracemalloc.reset_peak()
            before, started = tracemalloc.get_traced_memory()[0], time.monotonic()
            try:
                if path == paths[0]:
                    LoraAdapter.load(folder)
                else:
                    dict(DeltaFile.open(path).dense())
            except SamnerError as error:
                if path.name not in str(error):
                    row.failed("the file is not named", error)
            except Exception as error:
                row.failed(type(error).__name__, f"{number}: {error}")
            if (peak := tracemalloc.get_traced_memory()[1] - before) > 4 * len(content) + (256 << 10):
                row.failed("memory above four times the file's size", f"{number}: {peak} for {len(content)}")
            if time.monotonic() - started > 10:
                row.failed("more than ten seconds", number)
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_AS, limits)
