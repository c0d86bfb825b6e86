"""Files of strangers: data comes through exactly, programs never run, and damage is one error that names the file."""

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hallucade.data.importers.restricted_pickle import load_npy, load_pickle, load_torch
from hallucade.data.source import SourceError

DATA: dict[str, Any] = {
    "list": [1, -2, 2.5, None, True, False, "text é", b"bytes", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), 10**30],
    "sets": [{3, 4}, frozenset({5, "a"}), set(), frozenset()],
    "complex": 1.5 + 2j,
    "nested": {"a": {"b": [[[1]], {2: (3, {"c": []})}]}, ("key", 1): b""},
    "ordered": OrderedDict(a=1, b=2),
}
ARRAYS = {
    "c": np.arange(6, dtype=np.int16).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(4, dtype=">i4"),
    "axes": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "bool": np.array([True, False]),
    "half": np.array([1.5], np.float16),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "complex": np.array([1 + 2j], np.complex64),
    "empty": np.zeros((0, 3), np.uint8),
    "scalar": np.array(5),
    "objects": np.array([1, "a", None, 2.5], object),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_and_arrays_come_through_every_protocol(tmp_path: Path, protocol: int) -> None:
    data = DATA | ({"mutable": bytearray(b"xy")} if protocol == 5 else {})
    path = write(tmp_path / "a.pkl", pickle.dumps([data, ARRAYS, np.float32(2.5), np.int64(-3)], protocol=protocol))
    found, arrays, real, whole = load_pickle(path)
    assert found == data
    assert (real, whole) == (np.float32(2.5), np.int64(-3))
    assert isinstance(real, np.float32)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype, name
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_names_of_numpy_before_and_after_version_2_are_the_same(tmp_path: Path) -> None:
    new = pickle.dumps(np.arange(3), protocol=2)
    old = new.replace(b"numpy._core.", b"numpy.core.")
    assert old != new
    for content in (old, new):
        np.testing.assert_array_equal(load_pickle(write(tmp_path / "a.pkl", content)), np.arange(3))


def test_one_object_that_is_in_two_places_stays_one(tmp_path: Path) -> None:
    shared = [1]
    first, second = load_pickle(write(tmp_path / "a.pkl", pickle.dumps([shared, shared])))
    assert first is second


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in ("objects", "scalar")])
def test_npy_of_numbers_is_mapped(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "a.npy", ARRAYS[name])
    loaded = load_npy(tmp_path / "a.npy")
    assert isinstance(loaded, np.ndarray)
    assert loaded.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(loaded, ARRAYS[name])
    assert isinstance(loaded, np.memmap) == (loaded.size > 0)


def test_npy_of_objects_and_of_a_dictionary(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ARRAYS["objects"], allow_pickle=True)
    assert list(load_npy(tmp_path / "a.npy")) == [1, "a", None, 2.5]
    mouse = np.linspace(-1, 1, 6).reshape(3, 2)
    np.save(tmp_path / "b.npy", {"keyboard": np.eye(3), "mouse": mouse}, allow_pickle=True)
    found: Any = load_npy(tmp_path / "b.npy")
    np.testing.assert_array_equal(found["mouse"], mouse)


def test_torch_files_of_tensors_arrays_and_data(tmp_path: Path) -> None:
    view = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4).permute(2, 0, 1)
    saved = {"view": view, "half": torch.ones(3, dtype=torch.bfloat16), "none": torch.zeros(0, 3), "data": [1, "a"]}
    torch.save(saved | {"size": torch.Size([2, 3]), "arrays": ARRAYS}, tmp_path / "a.pth")
    found: Any = load_torch(tmp_path / "a.pth")
    for name in ("view", "half", "none"):
        torch.testing.assert_close(found[name], saved[name], rtol=0, atol=0)
    assert found["data"] == [1, "a"]
    assert found["size"] == (2, 3)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found["arrays"][name], array, err_msg=name)


def test_a_large_video_is_mapped_and_not_read(tmp_path: Path) -> None:
    torch.save(torch.zeros(64, 256, 256, 3, dtype=torch.uint8), tmp_path / "a.pth")
    before = resident()
    video: Any = load_torch(tmp_path / "a.pth")
    assert video.shape == (64, 256, 256, 3)
    assert resident() - before < 6 * 2**20  # of 12 MiB


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def commands(marker: Path) -> dict[str, Any]:
    touch = f"touch {marker}"
    return {
        "system": Calls(os.system, touch),
        "eval": Calls(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Calls(exec, f"open({str(marker)!r}, 'w')"),
        "open": Calls(open, str(marker), "w"),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "import": Calls(__import__, "os"),
        "nested": [{"a": (1, Calls(os.system, touch))}],
        "inside an argument": Calls(set, [Calls(os.system, touch)]),
        "numpy.load": Calls(np.load, str(marker)),
        "numpy function": Calls(np.fromfile, str(marker)),
        "ndarray": Calls(np.ndarray, (2**40,)),
        "bytes": Calls(bytes, 2**40),
        "bytearray": Calls(bytearray, 2**40),
        "object array": np.array([Calls(os.system, touch)], object),
    }


NAMES = list(commands(Path("m")))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_no_call_is_made(tmp_path: Path, name: str, protocol: int) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps(commands(marker)[name], protocol=protocol)
    with pytest.raises(SourceError, match=r"a\.pkl: refused: .*nothing in it was run"):
        load_pickle(write(tmp_path / "a.pkl", content))
    header = b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(69) + b"\n"
    with pytest.raises(SourceError, match=r"a\.npy: refused"):
        load_npy(write(tmp_path / "a.npy", header + content))
    with pytest.raises(SourceError, match=r"a\.pth: refused"):
        load_torch(torch_file(tmp_path / "a.pth", content))
    assert not marker.exists()


def torch_file(path: Path, pickled: bytes, records: dict[str, bytes] | None = None, packing: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/version", b"3\n")
        for name, content in (records or {}).items():
            archive.writestr(f"a/{name}", content)
    return path


TAKES = b"(\x8c\x05numpy\x8c\x07ndarray\x93K\x00\x85C\x01b\x87R."
HOSTILE = {
    "a string that is not there": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.",
    "a bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"a.",
    "a negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b"a.",
    "many lists in each other": b"\x80\x02" + b"]" * 10**4 + b"a" * (10**4 - 1) + b".",
    "many tuples as a key": b"\x80\x02})" + b"\x85" * 10**4 + b"Ns.",
    "a doubling of tuples as a key": b"\x80\x02})" + b"".join(b"q\x00h\x00\x86" for _ in range(64)) + b"Ns.",
    "a doubling of lists": b"\x80\x02]" + b"".join(b"q\x00](h\x00h\x00e" for _ in range(64)) + b".",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a list that changes inside of another": b"\x80\x02]q\x00]h\x00ah\x00h\x00a.",
    "sets of one list, over and over": b"\x80\x02](" + b"K\x01" * 9999 + b"eq\x000c__builtin__\nset\nq\x01.",
    "an array without content": b"\x80\x04" + TAKES,
    "an opcode that nobody knows": b"\x80\x02\xff.",
    "a class": b"\x80\x02(ios\nsystem\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent name": b"\x80\x02Pos.system\n.",
    "a buffer from elsewhere": b"\x80\x05\x97.",
    "nothing": b"\x80\x02.",
    "only a mark": b"\x80\x02(.",
    "a kept mark": b"\x80\x02(q\x00h\x00.",
    "two objects": b"\x80\x02NN.",
    "no end": b"\x80\x02N",
    "a missing item": b"\x80\x02h\x05.",
    "a dictionary without a value": b"\x80\x02}(K\x01u.",
    "a list as a key": b"\x80\x02}]K\x01s.",
    "keys of one hash": pickle.dumps({2**61 - 1: 1, 2**62 - 2: 2}),
    "an endless integer": b"\x80\x02\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20 + b".",
    "an integer in digits": b"I" + b"9" * 10**5 + b"\n.",
    "a name as data": b"\x80\x02cnumpy\nndarray\n.",
    "a name in a list": b"\x80\x02]cnumpy\nndarray\na.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "a call with a number": b"\x80\x02c__builtin__\nset\nK\x01R.",
    "content for a number": b"\x80\x02K\x01)b.",
    "content for a list": b"\x80\x02])b.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_one_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"a\.pkl: "):
        load_pickle(write(tmp_path / "a.pkl", HOSTILE[name]))


def test_huge_numbers_that_only_name_something_cost_nothing(tmp_path: Path) -> None:
    assert load_pickle(write(tmp_path / "memo.pkl", b"\x80\x02]r\xff\xff\xff\xff.")) == []
    frame = b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N."
    assert load_pickle(write(tmp_path / "frame.pkl", frame)) is None


def array_pickle(shape: Any, dtype: Any, data: Any, state: tuple[Any, ...] = (3, "<", None, None, None, -1, -1, 0)):
    """Pickle an array with any claims; objects become the calls that numpy makes."""

    class Type:
        def __reduce__(self) -> Any:
            return np.dtype, (dtype, False, True), state

    class Array:
        def __reduce__(self) -> Any:
            return np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, shape, Type(), False, data)

    return pickle.dumps(Array(), protocol=4)


FALSE_ARRAYS = {
    "more than there is": array_pickle((2**40,), "u1", b"abc"),
    "less than there is": array_pickle((2,), "u1", b"abc"),
    "a negative size": array_pickle((-1,), "u1", b""),
    "a size that overflows": array_pickle((2**33, 2**33, 0), "u1", b"") + b"",
    "a size that is no number": array_pickle(("a",), "u1", b""),
    "forty axes": array_pickle((1,) * 40, "u1", b"a"),
    "pointers as bytes": array_pickle((1,), "O8", b"\x41" * 8),
    "objects as a number": array_pickle((1,), "u1", [None]),
    "fields": array_pickle((1,), "V8", b"\x00" * 8, (3, "|", None, ("a",), {}, 8, 1, 16)),
    "fields in a plain type": array_pickle((1,), "u8", b"\x00" * 8, (3, "<", None, ("a",), {}, 8, 1, 16)),
    "a type by its name": array_pickle((1,), "float64,object", b"\x00" * 16),
    "a type without a size": array_pickle((2**40,), "S0", b""),
    "a type of a day": array_pickle((1,), "M8[D]", b"\x00" * 8),
}


@pytest.mark.parametrize("name", FALSE_ARRAYS)
def test_arrays_that_claim_too_much_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"a\.pkl: "):
        load_pickle(write(tmp_path / "a.pkl", FALSE_ARRAYS[name]))


def test_what_unfolds_into_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    sets = b"c__builtin__\nset\nh\x00\x85R" * 999
    path = write(tmp_path / "a.pkl", b"\x80\x02(](" + b"K\x01" * 999 + b"eq\x00" + sets + b"t.")
    with pytest.raises(SourceError, match="unfolds into more than 1000000 bytes"):
        load_pickle(path, limit=10**6)


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + content


FALSE_NPY = {
    "cut short": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9,), }", b"12345678"),
    "huge": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }", b"12345678"),
    "negative": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-3,), }", b"123"),
    "overflow": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2), }", b"123"),
    "numbers without a size": npy("{'descr': '|S0', 'fortran_order': False, 'shape': (1099511627776,), }"),
    "a program in the header": npy("{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': (), }"),
    "no header": npy("[1, 2"),
    "another header": npy("{'a': 1}"),
    "objects in fields": npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (), }", b"N."),
    "objects of another shape": npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", b"N."),
    "another version": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", b"1", b"\x09\x00"),
    "text": b"frame,action\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", FALSE_NPY)
def test_npy_files_that_lie_are_one_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"a\.npy: "):
        load_npy(write(tmp_path / "a.npy", FALSE_NPY[name]))


def test_a_short_file_says_what_is_declared_and_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"a\.npy: its header declares uint8 of shape \(9,\), 9 bytes, and there are 8"
    ):
        load_npy(write(tmp_path / "a.npy", FALSE_NPY["cut short"]))


def tensor_pickle(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, key: str = "0") -> bytes:
    """Pickle a tensor of bytes with any claims, as torch does."""

    def ints(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = b"(" + text("storage") + b"ctorch\nByteStorage\n" + text(key) + text("cpu") + ints((count,))[1:-1] + b"tQ"
    rest = ints((offset,))[1:-1] + ints(size) + ints(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR."


def test_the_tensors_of_these_tests_are_those_of_torch(tmp_path: Path) -> None:
    path = torch_file(tmp_path / "a.pth", tensor_pickle(6, (2, 3), (3, 1)), {"data/0": b"\0\1\2\3\4\5"})
    assert load_torch(path).tolist() == [[0, 1, 2], [3, 4, 5]]


FALSE_TENSORS = {
    "a storage of more than its record": tensor_pickle(7, (7,), (1,)),
    "a storage of very much more": tensor_pickle(2**40, (1,), (1,)),
    "a storage of less than nothing": tensor_pickle(-1, (0,), (1,)),
    "more than the storage": tensor_pickle(6, (7,), (1,)),
    "one number a million times": tensor_pickle(6, (2**20, 2**20), (0, 0)),
    "strides beyond the storage": tensor_pickle(6, (3,), (3,)),
    "before the storage": tensor_pickle(6, (3,), (1,), -1),
    "a negative stride": tensor_pickle(6, (3,), (-1,), 5),
    "behind the storage": tensor_pickle(6, (3,), (1,), 4),
    "a record that is not there": tensor_pickle(6, (6,), (1,), key="1"),
    "a record elsewhere": tensor_pickle(6, (6,), (1,), key="../../x"),
}


@pytest.mark.parametrize("name", FALSE_TENSORS)
def test_tensors_that_claim_too_much_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"a\.pth: refused"):
        load_torch(torch_file(tmp_path / "a.pth", FALSE_TENSORS[name], {"data/0": b"123456"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_two_readers_would_read_differently_are_refused(tmp_path: Path) -> None:
    good, content = tensor_pickle(6, (6,), (1,)), {"data/0": b"123456"}
    with pytest.raises(SourceError, match="packed"):
        load_torch(torch_file(tmp_path / "packed.pth", good, {"data/0": b"1" * 10**6}, zipfile.ZIP_DEFLATED))
    twice = torch_file(tmp_path / "twice.pth", good, content)
    with zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(Calls(os.system, "true")))
    with pytest.raises(SourceError, match="of one name"):
        load_torch(twice)
    other = torch_file(tmp_path / "other.pth", good, content)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("b/data.pkl", b"N.")
    with pytest.raises(SourceError, match="several folders"):
        load_torch(other)


def test_what_is_no_torch_file_says_so(tmp_path: Path) -> None:
    for name, content in {"empty": b"", "pickle": pickle.dumps([1]), "text": b"hello"}.items():
        with pytest.raises(SourceError, match=rf"{name}\.pth: (the file is empty|it is no file of torch\.save)"):
            load_torch(write(tmp_path / f"{name}.pth", content))
    torch.save(torch.arange(99), tmp_path / "a.pth")
    with pytest.raises(SourceError, match=r"b\.pth: it is no file of torch\.save, or cut short"):
        load_torch(write(tmp_path / "b.pth", (tmp_path / "a.pth").read_bytes()[:-30]))
    for load in (load_npy, load_pickle, load_torch):
        with pytest.raises(SourceError, match="there is no such file; check the path"):
            load(tmp_path / "missing")
        with pytest.raises(SourceError, match="cannot read it"):
            load(tmp_path)


def test_mutations_never_crash_and_never_run(tmp_path: Path, rng: np.random.Generator) -> None:
    """900 damaged files: each is read, as something else maybe, or is one error."""
    content = [DATA, {name: ARRAYS[name] for name in ("c", "axes", "text", "objects")}, np.float32(1)]
    np.save(tmp_path / "n.npy", ARRAYS["c"])
    np.save(tmp_path / "o.npy", {"a": np.arange(3)}, allow_pickle=True)
    torch.save([torch.arange(9, dtype=torch.uint8), {"a": np.arange(3)}], tmp_path / "t.pth")
    seeds = [(load_pickle, pickle.dumps(content, protocol=protocol)) for protocol in (2, 3, 4, 5)]
    seeds += [(load_npy, (tmp_path / f"{name}.npy").read_bytes()) for name in "no"]
    seeds += [(load_torch, (tmp_path / "t.pth").read_bytes())] * 2
    refused = 0
    for number in range(900):
        load, good = seeds[number % len(seeds)]
        path = write(tmp_path / "f", mutated(good, rng))
        try:
            load(path, limit=10**8)
        except SourceError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017 - some mutations are harmless
    assert refused > 300


def mutated(good: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with some bytes changed, taken out, put in twice or cut off."""
    content = bytearray(good)
    for _ in range(rng.integers(1, 4)):
        content = content or bytearray(1)
        place, length = int(rng.integers(len(content))), int(rng.integers(1, 9))
        match rng.integers(5):
            case 0:
                content[place] ^= 1 << int(rng.integers(8))
            case 1:
                content[place] = int(rng.integers(256))
            case 2:
                del content[place : place + length]
            case 3:
                content[place:place] = content[place : place + length]
            case _:
                del content[max(place, 1) :]
    return bytes(content or b"\0")
