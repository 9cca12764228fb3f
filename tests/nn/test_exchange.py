import copy
import io
import tracemalloc
import zipfile

import numpy as np
import pytest

import tinygrad_rnn as tg


class Net(tg.nn.Module):
    def __init__(self, seed, hidden_size=3):
        self.rnn = tg.nn.LSTM(2, hidden_size, num_layers=2, rng=seed)
        self.readout = tg.nn.Linear(hidden_size, 1, rng=seed)


def test_what_is_saved_is_loaded(tmp_path):
    net, other = Net(0), Net(1)
    tg.save(tmp_path / "net.npz", net)
    tg.load(tmp_path / "net.npz", other)
    for (name, p), (same_name, q) in zip(net.named_parameters(), other.named_parameters(), strict=True):
        assert name == same_name
        np.testing.assert_array_equal(p.data, q.data)


def test_arguments_in_the_order_of_pytorch_are_told(tmp_path):
    net, path = tg.nn.Linear(2, 1), tmp_path / "net.npz"
    for call in (tg.save, tg.load):
        with pytest.raises(
            TypeError, match=rf"{call.__name__}\(path, module\): first the path, then a module is needed"
        ):
            call(net, path)
    with pytest.raises(TypeError, match="first the path, then a module is needed, not a dict"):
        tg.save(path, net.state_dict())
    assert not path.exists()


def test_all_that_differs_is_listed_and_nothing_is_half_loaded(tmp_path):
    net = Net(0)
    before = net.state_dict()
    tg.save(tmp_path / "net.npz", Net(1, hidden_size=4))
    with pytest.raises(ValueError, match=r"rnn\.cells\.0\.W_i is float64 \(4, 2\) and should be .*readout\.V is"):
        tg.load(tmp_path / "net.npz", net)
    values = net.state_dict()
    values["odd"] = values.pop("readout.c") + 1.0
    values["readout.V"] = values["readout.V"].astype(np.float32)
    with pytest.raises(ValueError, match=r"readout\.c is missing; .*readout\.V is float32.*; odd is not a parameter"):
        net.load_state_dict(values)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


class Named(tg.nn.Module):
    def __init__(self, names):
        for i, name in enumerate(names):
            setattr(self, name, tg.nn.Parameter(float(i)))


def test_parameters_may_have_any_name(tmp_path):
    net, other = Named(["file", "allow_pickle", "args", "a/b", "x.npy"]), Named(["x.npy", "a/b", "args"])
    other.allow_pickle, other.file = tg.nn.Parameter(9.0), tg.nn.Parameter(9.0)
    tg.save(tmp_path / "net.npz", net)
    tg.load(tmp_path / "net.npz", other)
    assert other.state_dict() == net.state_dict()
    with np.load(tmp_path / "net.npz") as file:  # it is one of NumPy's own
        assert file["allow_pickle"] == 1.0


def pickled():
    file = io.BytesIO()
    np.savez(file, x=np.array([print], dtype=object))
    return file.getvalue()


def truncated():
    file = io.BytesIO()
    np.savez(file, **Net(0).state_dict())
    return file.getvalue()[:-100]


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readout.V.npy", b"no array")
    return file.getvalue()


def header(text):
    """A file of one array with this header, of which there is nothing more."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        text = text.encode()
        archive.writestr("readout.V.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    return file.getvalue()


def in_directory(place, byte):
    """A file with one byte changed in the entry of the archive's directory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readout.V.npy", bytes(100))
    content = bytearray(file.getvalue())
    content[content.index(b"PK\x01\x02") + place] = byte
    return bytes(content)


def corrupted():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readout.V.npy", bytes(100))
    content = bytearray(file.getvalue())
    content[30 + len("readout.V.npy")] = 0xFF
    return bytes(content)


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000, 1000000), }"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"some text",
        pickled(),
        truncated(),
        zipped(),
        corrupted(),
        header(HUGE),
        header("{'descr': ("),
        in_directory(8, 1),
        in_directory(10, 99),  # as if it were encrypted; an unknown compression
    ],
    ids=[
        "empty",
        "text",
        "pickled",
        "truncated",
        "no array",
        "corrupted",
        "huge",
        "header",
        "encrypted",
        "compression",
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path, content):
    net, path = Net(0), tmp_path / "file.npz"
    before = net.state_dict()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"load\('.*file\.npz'\): it is broken, or no file that `save` has written"):
        tg.load(path, net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_would_unpack_to_more_than_the_parameters_is_not_read(tmp_path):
    """A file of 100 kB that is 100 MB when it is unpacked: its directory tells."""
    path, size = tmp_path / "file.npz", 12_500_000
    np.savez_compressed(path, **{**Net(0).state_dict(), "readout.V": np.zeros(size)})
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"load\(.*\): it unpacks to 100,00\d,\d{3} bytes, most of them readout\.V"):
        tg.load(path, Net(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * size / 10


def test_one_array_is_no_file_of_parameters(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"load\('.*array\.npy'\): "):
        tg.load(tmp_path / "array.npy", Net(0))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "none.npz", Net(0))


KINDS = pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])


def filled(net):
    """A net with random numbers in all its parameters, biases too."""
    rng = np.random.default_rng(5)
    for p in net.parameters():
        p.data = rng.standard_normal(p.shape)
    return net


def found_in_torch(net, dtype=np.float64):
    """Random arrays as PyTorch would have them for a net, of sizes so different that sums of biases are rounded."""
    rng = np.random.default_rng(6)
    return {
        name: (rng.standard_normal(a.shape) * 10.0 ** rng.integers(-4, 4, a.shape)).astype(dtype)
        for name, a in tg.to_torch(net).items()
    }


@KINDS
def test_to_pytorch_and_back(kind):
    net, other = filled(kind(2, 3, num_layers=2)), kind(2, 3, num_layers=2)
    arrays = tg.to_torch(net)
    assert list(arrays)[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    tg.from_torch(other, arrays)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
@KINDS
def test_what_is_read_from_pytorch_goes_back_bit_for_bit(kind, dtype):
    net = kind(2, 3, num_layers=2)
    arrays = found_in_torch(net, dtype)
    tg.from_torch(net, arrays)
    assert net.cells[0].parameters()[0].dtype == np.float64
    for module in (net, copy.deepcopy(net)):
        back = tg.to_torch(module)
        assert list(back) == list(arrays)
        for name, array in back.items():
            assert array.dtype == dtype
            np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_infinite_sums_of_biases_go_back_too():
    net = tg.nn.RNN(1, 3)
    arrays = tg.to_torch(net) | {
        "bias_ih_l0": np.array([1.7e308, np.inf, np.nan]), "bias_hh_l0": np.array([1.7e308, -np.inf, 1.0])
    }  # fmt: skip
    tg.from_torch(net, arrays)
    for name, array in tg.to_torch(net).items():
        np.testing.assert_array_equal(array, arrays[name])


@KINDS
def test_a_net_that_has_learned_goes_to_pytorch_as_it_is(kind):
    """The arrays that from_torch found are forgotten where parameters have changed: nothing is rounded again."""
    net, other = kind(2, 3), kind(2, 3)
    arrays = found_in_torch(net)
    tg.from_torch(net, arrays)
    for letter in "Wb":
        p = next(p for name, p in net.named_parameters() if f".{letter}" in name)
        p.data[0] += 0.1
    changed = tg.to_torch(net)
    np.testing.assert_array_equal(changed["weight_hh_l0"], arrays["weight_hh_l0"])
    assert (changed["weight_ih_l0"] != arrays["weight_ih_l0"]).sum() == 2
    tg.from_torch(other, changed)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_a_layer_that_has_lost_its_bias_since_goes_to_pytorch_without_it():
    net = tg.nn.Linear(2, 3)
    tg.from_torch(net, found_in_torch(net))
    net.c = None
    assert list(tg.to_torch(net)) == ["weight"]


@pytest.mark.parametrize("net", [tg.nn.GRU(2, 3), tg.nn.Linear(2, 3)])
def test_arrays_for_pytorch_and_from_it_are_copies(net):
    arrays = found_in_torch(net)
    expected = {name: array.copy() for name, array in arrays.items()}
    tg.from_torch(net, arrays)
    for given in (arrays, tg.to_torch(net)):
        for array in given.values():
            array[...] = 9.0
    for name, array in tg.to_torch(net).items():
        np.testing.assert_array_equal(array, expected[name])


class BFloat16:
    """A tensor of a dtype that NumPy lacks, as PyTorch hands it out."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")


@pytest.mark.parametrize("bad, message", [
    (np.ones(9, complex), r"bias_hh_l0 is complex128 \(9,\) and should be float64"),
    (np.array(["a"] * 9), r"bias_hh_l0 is <U1 \(9,\)"),
    (BFloat16(), r"bias_hh_l0 is no array that NumPy can hold \(Got unsupported ScalarType BFloat16\); convert it"),
])  # fmt: skip
def test_one_bad_array_changes_nothing(bad, message):
    net = filled(tg.nn.GRU(2, 3))
    before = net.state_dict()
    with pytest.raises(ValueError, match="from_torch: " + message):
        tg.from_torch(net, found_in_torch(net) | {"bias_hh_l0": bad})
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_pytorch_module_stands_for_its_state_dict():
    class Theirs:
        def state_dict(self):
            return found_in_torch(net)

    net = tg.nn.Linear(2, 3)
    tg.from_torch(net, Theirs())
    np.testing.assert_array_equal(net.V.data, found_in_torch(net)["weight"])
    with pytest.raises(TypeError, match="a state dict is needed, not a list"):
        tg.from_torch(net, [np.ones((3, 2))])


@pytest.mark.parametrize("path", ["", "0."])
@pytest.mark.parametrize("kind", ["RNN", "RNNCell"])
def test_a_pytorch_module_that_computes_something_else_is_refused(kind, path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module, net = getattr(torch.nn, kind)(2, 3, nonlinearity="relu"), getattr(tg.nn, kind)(2, 3)
    if path:
        module, net = torch.nn.Sequential(module), tg.nn.Sequential(net)
    with pytest.raises(ValueError, match=f"from_torch: {path}nonlinearity is 'relu' there and 'tanh' here"):
        tg.from_torch(net, module)


def test_a_layer_norm_has_the_eps_of_pytorch_s():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tg.from_torch(tg.nn.LayerNorm(3), torch.nn.LayerNorm(3))
    with pytest.raises(ValueError, match="from_torch: eps is 0.1 there and 1e-05 here"):
        tg.from_torch(tg.nn.LayerNorm(3), torch.nn.LayerNorm(3, eps=0.1))


def test_what_pytorch_has_no_place_for_is_refused_by_name():
    net = Net(0)
    arrays = tg.to_torch(net)
    net.h0, net.rnn.scale = [tg.nn.Parameter(np.zeros(3))], tg.nn.Parameter(1.0)
    for call in (tg.to_torch, lambda net: tg.from_torch(net, arrays)):
        with pytest.raises(ValueError, match=r"_torch: PyTorch's layout has no place for h0\.0, rnn\.scale"):
            call(net)


def test_a_shared_parameter_goes_to_pytorch_under_each_name_and_comes_back_with_one_value():
    net = tg.nn.Module()
    net.a, net.b = tg.nn.Linear(2, 2, rng=0), tg.nn.Linear(2, 2, rng=0)
    net.b.V = net.a.V
    arrays = tg.to_torch(net)
    assert list(arrays) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    tg.from_torch(net, arrays)
    with pytest.raises(ValueError, match=r"b\.V, V of shape \(2, 2\), is shared and has two values"):
        tg.from_torch(net, arrays | {"b.weight": np.ones((2, 2))})


def test_from_torch_lists_all_that_differs():
    arrays = tg.to_torch(tg.nn.GRU(2, 4, rng=0)) | {"weight_hr_l0": np.ones(3)}
    del arrays["bias_ih_l0"]
    expected = r"bias_ih_l0 is missing; weight_ih_l0 is float64 \(12, 2\) and .*weight_hr_l0 is not a parameter"
    with pytest.raises(ValueError, match=expected):
        tg.from_torch(tg.nn.GRU(2, 3, rng=0), arrays)


def test_pytorch_has_no_cells_of_ones_own():
    class Coupled(tg.nn.LSTMCell):
        """The parameters of an LSTM, and other equations."""

    net = tg.nn.Recurrent(Coupled, 2, 3)
    with pytest.raises(ValueError, match="^to_torch: PyTorch has no Coupled"):
        tg.to_torch(net)
    with pytest.raises(ValueError, match="^from_torch: PyTorch has no Coupled"):
        tg.from_torch(net, tg.to_torch(tg.nn.LSTM(2, 3)))
    with pytest.raises(TypeError, match=r"^to_torch\(module\): a module is needed, not a dict"):
        tg.to_torch({})


def test_a_net_of_ones_own_is_saved_and_loaded(tmp_path):
    class Gate(tg.nn.Cell):
        gates = ("_g",)

        def step(self, x, h):
            g = tg.sigmoid(tg.linear(self.W_g, x) + self.b_g)
            return g * h + (1 - g) * tg.tanh(tg.linear(self.U_g, h))

    first, second = (
        tg.nn.Bidirectional(tg.nn.Recurrent(Gate, 2, 3, 2, rng=seed), tg.nn.GRU(2, 3, rng=seed, reverse=True, name="b"))
        for seed in (0, 1)
    )
    tg.save(tmp_path / "net.npz", first)
    tg.load(tmp_path / "net.npz", second)
    xs = np.ones((3, 2))
    for a, b, c in zip(first(xs)[0], second(xs)[0], copy.deepcopy(first)(xs)[0], strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.data, c.data)
