"""Parameters on disk, and to PyTorch and back: `save` and `load`, `to_torch` and `from_torch`."""

import io
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from tinygrad_rnn.checks import instance
from tinygrad_rnn.errors import describe
from tinygrad_rnn.files import open_file, write_file
from tinygrad_rnn.nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.layers import Embedding, LayerNorm, Linear
from tinygrad_rnn.nn.module import Module, refuse_differences
from tinygrad_rnn.nn.recurrent import Bidirectional, Recurrent
from tinygrad_rnn.tensor import Tensor

# PyTorch's name of each array, and the parameters that are stacked in it: of these classes alone, since a subclass may
# have other equations. A bias that is there twice is the sum of two arrays; a GRU has another, c_n, in one gate.
LAYOUTS: dict[type, dict[str, list[str]]] = {
    Linear: {"weight": ["V"], "bias": ["c"]}, Embedding: {"weight": ["E"]},
    LayerNorm: {"weight": ["gamma"], "bias": ["beta"]},
}  # fmt: skip
for _cell in (RNNCell, LSTMCell, GRUCell):
    _W, _U, _b = ([letter + gate for gate in _cell.gates] for letter in "WUb")
    _second = ["c_n" if letter == "b_n" else letter for letter in _b]
    LAYOUTS[_cell] = {"weight_ih": _W, "weight_hh": _U, "bias_ih": _b, "bias_hh": _second}

LARGEST = 2**24  # bytes of arrays that may have any shape


def save(path: str | os.PathLike, module: Module) -> Path:
    """Write a module's parameters to an .npz file of plain arrays, whole or not at all.

    Raises:
        OSError: the file cannot be written.

    >>> path = tg.save("net.npz", tg.nn.RNN(2, 3, rng=0))
    """
    instance("save(path, module)", module, Module, "first the path, then a module")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # as np.savez does, for which some names are keywords
        for name, array in module.state_dict().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, array, allow_pickle=False)
    return write_file(path, content.getvalue())


def load(path: str | os.PathLike, module: Module) -> None:
    """Set a module's parameters to those in a file that `save` has written; nothing in it can run code.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or its names, shapes or dtypes are not the module's; all that differ are listed,
            and the module is as it was.

    >>> path = tg.save("net.npz", tg.nn.RNN(2, 3, rng=0))
    >>> net = tg.nn.RNN(2, 3)
    >>> tg.load(path, net)
    """
    instance("load(path, module)", module, Module, "first the path, then a module")
    try:
        module.load_state_dict(read_arrays(path, module.state_dict()))
    except ValueError as error:
        raise ValueError(f"load({os.fspath(path)!r}): {error}") from error


def read_arrays(
    path: str | os.PathLike, expected: Mapping[str, np.ndarray] | None, varying: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; nothing in it can run code.

    What a small file holds may be of any size when it is unpacked, so the size that it says is looked at first.

    Args:
        expected: arrays of their names, shapes and dtypes; None to leave out what is not varying.
        varying: names that may be there, with any shape and dtype, of up to 16 MB.

    Raises:
        OSError: the file cannot be read. ValueError: it is broken, no file that `save` has written, or not as expected.
    """
    most = LARGEST + sum(array.nbytes for array in (expected or {}).values())
    with open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                wanted = {name: x for name, x in members.items() if expected is not None or name in varying}
                sizes = {name: info.file_size for name, info in wanted.items()}
                size = sum(sizes.values())
                if size <= most:
                    arrays = {name: npy.read_array(archive.open(x), allow_pickle=False) for name, x in wanted.items()}
        except Exception as error:  # a broken file makes these libraries raise nearly anything
            raise ValueError("it is broken, or no file that `save` has written") from error
    if size > most:
        raise ValueError(f"it unpacks to {size:,} bytes, most of them {max(sizes, key=sizes.__getitem__)}")
    if expected is not None:
        fixed = {name: array for name, array in arrays.items() if name not in varying}
        refuse_differences("load_state_dict", fixed, expected)
    return arrays


def to_torch(module: Module) -> dict[str, np.ndarray]:
    """The parameters of RNN, LSTM, GRU, their cells, `nn.layers`, and nets of these, named and laid out as in PyTorch.

    A `Bidirectional` of two nets of one layer is PyTorch's bidirectional net.

    PyTorch has two biases where there is one here, and adds them up: `bias_ih` is ours, and `bias_hh` is zero. But what
    `from_torch` has read is given back as it was, as long as the parameters are still what it made them.

        net = torch.nn.LSTM(2, 3, dtype=torch.float64)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(lstm).items()})

    Returns:
        Copies, by PyTorch's names; a parameter that is shared is there under each.

    Raises:
        ValueError: a cell is none of PyTorch's, or the module has parameters for which its layout has no place.

    >>> list(tg.to_torch(tg.nn.RNN(2, 3)))
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """
    parts = _parts_of("to_torch", module)
    return {f"{path}{name}{end}": array for path, end, part in parts for name, array in _theirs(part).items()}


def from_torch(module: Module, state_dict: Any) -> None:
    """Set a module's parameters to those of a PyTorch module of the same kind and sizes; all of them, or none.

    The parameters keep their own dtype.

    Args:
        state_dict: what the PyTorch module's `state_dict()` returns, or that module itself.

    Raises:
        ValueError: names or shapes differ, or arrays are not real numbers; lists every difference. Or an array is of a
            dtype that NumPy lacks, such as bfloat16; or the module has parameters of other kinds, as for `to_torch`.
        TypeError: not a PyTorch module or its state dict.

    >>> net = tg.nn.RNN(2, 3)
    >>> tg.from_torch(net, tg.to_torch(tg.nn.RNN(2, 3, rng=0)))
    """
    modules: dict[str, Any] = dict(getattr(state_dict, "named_modules", list)())
    state_dict = state_dict.state_dict() if hasattr(state_dict, "state_dict") else state_dict
    instance("from_torch(module, state_dict)", state_dict, Mapping, "a state dict")
    arrays = {name: _array(name, value) for name, value in state_dict.items()}
    parts = _parts_of("from_torch", module)
    refuse_differences("from_torch", arrays, to_torch(module), any_real_dtype=True)
    for path, _, part in parts:
        for name in ("nonlinearity", "eps"):  # which no state dict holds
            ours, theirs = (getattr(x, name, None) for x in (part, modules.get(path.removesuffix("."))))
            if theirs not in (None, ours):
                raise ValueError(f"from_torch: {path}{name} is {theirs!r} there and {ours!r} here")
    found = [{name: arrays[f"{path}{name}{end}"] for name in _layout(part)} for path, end, part in parts]
    values: dict[Tensor, np.ndarray] = {}
    for (path, _, part), theirs in zip(parts, found, strict=True):
        for letter, array in _ours(part, theirs).items():
            p = getattr(part, letter)
            if not np.array_equal(values.setdefault(p, array), array, equal_nan=True):
                raise ValueError(f"from_torch: {path}{letter}, {describe(p)}, is shared and has two values")
    for p, array in values.items():
        p.data = array
    for (*_, part), theirs in zip(parts, found, strict=True):
        part.found_in_torch = theirs  # on the part itself, so that copies of a net have it too


def _layout(part: Any) -> dict[str, list[str]]:
    """The layout of a cell or a layer, as far as it has these parameters: a bias may be None."""
    return {name: letters for name, letters in LAYOUTS[type(part)].items() if getattr(part, letters[0]) is not None}


def _theirs(part: Module) -> dict[str, np.ndarray]:
    """The parameters as PyTorch has them: those that it gave, or zeros where a bias comes a second time."""
    layout, found = _layout(part), vars(part).get("found_in_torch", {})
    ours = {letter: getattr(part, letter).value for letters in layout.values() for letter in letters}
    if found.keys() == layout.keys():
        made = _ours(part, found)
        if all(np.array_equal(array, made[letter], equal_nan=True) for letter, array in ours.items()):
            return {name: array.copy() for name, array in found.items()}
    arrays = {}
    for name, letters in layout.items():
        arrays[name] = np.concatenate([ours[letter] for letter in letters])
        ours |= {letter: np.zeros_like(ours[letter]) for letter in letters}  # a bias that comes again adds nothing
    return arrays


def _ours(part: Module, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values that PyTorch's arrays give the parameters."""
    values: dict[str, np.ndarray] = {}
    for name, letters in _layout(part).items():
        for letter, array in zip(letters, np.split(arrays[name], len(letters)), strict=True):
            with np.errstate(all="ignore"):  # a sum or a cast may overflow to an infinity, as it would in PyTorch
                array = array.astype(getattr(part, letter).dtype)
                values[letter] = values[letter] + array if letter in values else array
    return values


def _parts_of(call: str, module: Module) -> list[tuple[str, str, Module]]:
    """Every cell and dense layer, as `_parts` gives them, if PyTorch has such cells and all parameters are theirs."""
    parts = list(_parts(instance(f"{call}(module)", module, Module, "a module"), ""))
    if own := [type(part).__name__ for *_, part in parts if type(part) not in LAYOUTS]:
        raise ValueError(f"{call}: PyTorch has no {own[0]}")
    placed = {getattr(part, letter) for *_, part in parts for letters in _layout(part).values() for letter in letters}
    if others := [name for name, p in module.named_parameters() if p not in placed]:
        raise ValueError(f"{call}: PyTorch's layout has no place for {', '.join(others)}")
    return parts


def _parts(module: Module, path: str) -> Iterator[tuple[str, str, Module]]:
    """Every cell and dense layer, with its path and the suffix of its layer as PyTorch has them."""
    if isinstance(module, Bidirectional) and len(module.forth.cells) == len(module.back.cells) == 1:
        yield from ((path, f"_l0{end}", net.cells[0]) for net, end in ((module.forth, ""), (module.back, "_reverse")))
    elif isinstance(module, Recurrent):
        yield from ((path, f"_l{layer}", cell) for layer, cell in enumerate(module.cells))
    elif isinstance(module, (Cell, *LAYOUTS)):
        yield path, "", module
    else:
        for name, part in module.named_modules():
            yield from _parts(part, f"{path}{name}.")


def _array(name: str, value: Any) -> np.ndarray:
    """A copy of a PyTorch tensor, or of an array."""
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "cpu") else value).copy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"from_torch: {name} is no array that NumPy can hold ({error}); convert it first") from error
