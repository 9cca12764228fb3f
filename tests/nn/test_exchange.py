import io
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


@pytest.mark.parametrize("content", [b"", b"some text", pickled(), truncated(), zipped()])
def test_a_file_that_is_not_ours_is_refused(tmp_path, content):
    net, path = Net(0), tmp_path / "file.npz"
    before = net.state_dict()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"load\('.*file\.npz'\): "):
        tg.load(path, net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_one_array_is_no_file_of_parameters(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"load\('.*array\.npy'\): "):
        tg.load(tmp_path / "array.npy", Net(0))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        tg.load(tmp_path / "none.npz", Net(0))


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])
def test_to_pytorch_and_back(kind):
    net, other = kind(2, 3, num_layers=2, rng=0), kind(2, 3, num_layers=2, rng=1)
    arrays = tg.to_torch(net)
    assert list(arrays)[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    tg.from_torch(other, arrays)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_from_torch_lists_all_that_differs():
    arrays = tg.to_torch(tg.nn.GRU(2, 4, rng=0)) | {"weight_hr_l0": np.ones(3)}
    del arrays["bias_ih_l0"]
    with pytest.raises(ValueError, match=r"bias_ih_l0 is missing; weight_ih_l0 is \(12, 2\).*weight_hr_l0 has no"):
        tg.from_torch(tg.nn.GRU(2, 3, rng=0), arrays)
