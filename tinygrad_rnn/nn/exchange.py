"""Parameters on disk, and to PyTorch and back: `save` and `load`, `to_torch` and `from_torch`."""

import io
import math
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from tinygrad_rnn.files import open_file, write_file
from tinygrad_rnn.nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.module import Linear, Module, refuse_differences
from tinygrad_rnn.nn.recurrent import Recurrent
from tinygrad_rnn.tensor import Tensor

__all__ = ["from_torch", "load", "packed", "read_arrays", "save", "to_torch"]

LARGEST = 2**24  # bytes of an array that may have any shape


def save(path: str | os.PathLike, module: Module) -> Path:
    """Write a module's parameters to an .npz file of plain arrays, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    return write_file(path, packed(module))


def packed(module: Module) -> bytes:
    """The parameters of a module as the content of an .npz file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # as np.savez does, for which some names are keywords
        for name, array in module.state_dict().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, array, allow_pickle=False)
    return content.getvalue()


def load(path: str | os.PathLike, module: Module) -> None:
    """Set a module's parameters to those in a file that `save` has written; nothing in it can run code.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or its names, shapes or dtypes are not the module's; all that differ are listed,
            before anything is read, and the module is as it was.
    """
    try:
        module.load_state_dict(read_arrays(path, module.state_dict()))
    except ValueError as error:
        raise ValueError(f"load({os.fspath(path)!r}): {error}") from error


def read_arrays(
    path: str | os.PathLike, expected: Mapping[str, np.ndarray] | None, varying: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name; nothing in it can run code.

    What they are is compared with what is expected before they are read, by their headers: what a small file holds may
    be of any size when it is unpacked.

    Args:
        expected: arrays of their names, shapes and dtypes; None to leave out what is not varying.
        varying: names that may be there, with any shape and dtype of up to 16 MB.

    Raises:
        OSError: the file cannot be read. ValueError: it is broken, no file that `save` has written, or not as expected.
    """
    with open_file(path) as file:

        def each(read: Callable[[zipfile.ZipExtFile, int], np.ndarray]) -> dict[str, np.ndarray]:
            try:
                with zipfile.ZipFile(file) as archive:
                    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                    names = [name for name in members if expected is not None or name in varying]
                    return {name: read(archive.open(members[name]), members[name].file_size) for name in names}
            except Exception as error:  # a broken file makes these libraries raise nearly anything
                raise ValueError("it is broken, or no file that `save` has written") from error

        found = each(_stand_in)
        for name, size in [(name, found.pop(name).nbytes) for name in varying if name in found]:
            if size > LARGEST:
                raise ValueError(f"{name} has {size:,} bytes")
        if expected is not None:
            refuse_differences("load_state_dict", found, expected)
        return each(lambda member, size: npy.read_array(member, allow_pickle=False))


def _stand_in(member: zipfile.ZipExtFile, size: int) -> np.ndarray:
    """An array of the shape and dtype that a header says, if the file is as long as that; it takes no memory."""
    head = io.BytesIO(member.read(2**14))  # more than NumPy takes for a header
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(head)]
    shape, _, dtype = read(head)
    if head.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError("another length")
    return np.broadcast_to(np.zeros((), dtype), shape)


def to_torch(module: Module) -> dict[str, np.ndarray]:
    """The parameters of RNN, LSTM, GRU, their cells, Linear and nets of these, named and laid out as PyTorch does.

    PyTorch has two biases where there is one here, and adds them up: `bias_ih` is ours, and `bias_hh` is zero. But what
    `from_torch` has read is given back as it was, as long as the parameters are still what it made them.

        net = torch.nn.LSTM(2, 3, dtype=torch.float64)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(lstm).items()})

    Returns:
        Copies, by PyTorch's names; a parameter that is shared is there under each.

    Raises:
        ValueError: the module has parameters of other kinds, for which PyTorch's layout has no place; names them.
    """
    arrays = {}
    for group in _groups("to_torch", module):
        found = _found(group.part).get(group.names[0])
        unchanged = found is not None and all(
            np.array_equal(p.value, array, equal_nan=True)
            for p, array in zip(group.parameters, group.ours(found), strict=True)
        )
        arrays |= zip(group.paths, map(np.array, found) if unchanged else group.theirs(), strict=True)
    return arrays


def from_torch(module: Module, state_dict: Any) -> None:
    """Set a module's parameters to those of a PyTorch module of the same kind and sizes; all of them, or none.

    The parameters keep their own dtype.

    Args:
        state_dict: what the PyTorch module's `state_dict()` returns, or that module itself.

    Raises:
        ValueError: names or shapes differ, or arrays are not real numbers; lists every difference. Or an array is of a
            dtype that NumPy lacks, such as bfloat16; or the module has parameters of other kinds, as for `to_torch`.
        TypeError: not a PyTorch module or its state dict.
    """
    if not isinstance(state_dict, Mapping) and hasattr(state_dict, "state_dict"):
        state_dict = state_dict.state_dict()
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"from_torch(module, state_dict): a state dict is needed, not a {type(state_dict).__name__}")
    arrays = {name: _array(name, value) for name, value in state_dict.items()}
    groups = list(_groups("from_torch", module))
    ours = {path: array for group in groups for path, array in zip(group.paths, group.theirs(), strict=True)}
    refuse_differences("from_torch", arrays, ours, any_real_dtype=True)
    values: dict[Tensor, np.ndarray] = {}
    for group in groups:
        for parameter, array in zip(group.parameters, group.ours([arrays[p] for p in group.paths]), strict=True):
            if not np.array_equal(values.setdefault(parameter, array), array, equal_nan=True):
                raise ValueError(f"from_torch: {group.paths[0]} is a parameter that is shared, and has two values")
    for parameter, array in values.items():
        parameter.data = array
    for group in groups:
        group.part.found_in_torch = _found(group.part) | {group.names[0]: [arrays[path] for path in group.paths]}


class _Group(NamedTuple):
    """Parameters of a cell or dense layer that PyTorch stacks into one array; or into two, the biases of a cell.

    Attributes:
        names: what PyTorch calls the arrays. paths: the same with where they are in the net.
        own: how many rows at the end, those of c_n of a GRU, are in the second bias alone and not in the sum of both.
    """

    part: Cell | Linear
    names: tuple[str, ...]
    paths: list[str]
    parameters: list[Tensor]
    own: int

    def theirs(self) -> list[np.ndarray]:
        """The parameters as PyTorch has them, with a second bias of zeros."""
        stacked = np.concatenate([p.value for p in self.parameters])
        if len(self.names) == 1:
            return [stacked]
        first, own = np.split(stacked, [len(stacked) - self.own])
        return [first, np.concatenate([np.zeros_like(first[self.own :]), own])]

    def ours(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The parameters that PyTorch's arrays make."""
        with np.errstate(all="ignore"):  # a sum or a cast may overflow to an infinity, as it would in PyTorch
            first, *second = [array.astype(self.parameters[0].dtype) for array in arrays]
            if second:
                shared = len(first) - self.own
                first = np.concatenate([first[:shared] + second[0][:shared], first[shared:], second[0][shared:]])
        return np.split(first, len(self.parameters))


def _groups(call: str, module: Module) -> Iterator[_Group]:
    """What the parameters of a module become in PyTorch."""
    groups = []
    for path, suffix, part in _parts(module, ""):
        own = 0
        if isinstance(part, Linear):
            named = {("weight",): [part.V], ("bias",): [part.c]}
        else:
            W, U, b = ([getattr(part, letter + gate) for gate in part.gates] for letter in "WUb")
            if isinstance(part, GRUCell):
                b, own = [*b, part.c_n], part.hidden_size
            named = {("weight_ih",): W, ("weight_hh",): U, ("bias_ih", "bias_hh"): b}
        for names, parameters in named.items():
            if parameters[0] is not None:
                paths = [f"{path}{name}{suffix}" for name in names]
                groups.append(_Group(part, names, paths, parameters, own))
    placed = {p for group in groups for p in group.parameters}
    others = [name for name, p in module.named_parameters() if p not in placed]
    if others:
        raise ValueError(f"{call}: PyTorch's layout has no place for {', '.join(others)}")
    yield from groups


def _parts(module: Module, path: str) -> Iterator[tuple[str, str, Cell | Linear]]:
    """Every cell and dense layer, with its path and the suffix of its layer as PyTorch has them."""
    if isinstance(module, Recurrent):
        yield from ((path, f"_l{layer}", cell) for layer, cell in enumerate(module.cells))
    elif isinstance(module, (RNNCell, LSTMCell, GRUCell, Linear)):
        yield path, "", module
    else:
        for name, part in module.named_modules():
            yield from _parts(part, f"{path}{name}.")


def _found(part: Cell | Linear) -> dict[str, list[np.ndarray]]:
    """What from_torch has read into a cell or dense layer: arrays by the name of the first of their group.

    It stands on the part itself, so that copies of a net have it too.
    """
    return vars(part).get("found_in_torch", {})


def _array(name: str, value: Any) -> np.ndarray:
    """A copy of a PyTorch tensor, or of an array."""
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "cpu") else value).copy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"from_torch: {name} is no array that NumPy can hold ({error}); convert it first") from error
