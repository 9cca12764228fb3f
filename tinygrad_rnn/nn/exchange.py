"""Parameters on disk, and to PyTorch and back: `save` and `load`, `to_torch` and `from_torch`."""

import io
import math
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from tinygrad_rnn.checks import instance
from tinygrad_rnn.files import open_file, write_file
from tinygrad_rnn.nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.module import Linear, Module, refuse_differences
from tinygrad_rnn.nn.recurrent import Bidirectional, Recurrent
from tinygrad_rnn.tensor import Tensor

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

    A `Bidirectional` of two nets of one layer is PyTorch's bidirectional net.

    PyTorch has two biases where there is one here, and adds them up: `bias_ih` is ours, and `bias_hh` is zero. But what
    `from_torch` has read is given back as it was, as long as the parameters are still what it made them.

        net = torch.nn.LSTM(2, 3, dtype=torch.float64)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(lstm).items()})

    Returns:
        Copies, by PyTorch's names; a parameter that is shared is there under each.

    Raises:
        ValueError: a cell is none of PyTorch's, or the module has parameters for which its layout has no place.
    """
    arrays = {}
    for path, suffix, part in _parts_of("to_torch", module):
        theirs, found = _theirs(part), vars(part).get("found_in_torch", {})
        if found.keys() == theirs.keys() and all(
            np.array_equal(p.value, array, equal_nan=True) for _, p, array in _ours(part, found)
        ):
            theirs = {name: array.copy() for name, array in found.items()}
        arrays |= {f"{path}{name}{suffix}": array for name, array in theirs.items()}
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
    parts, found = _parts_of("from_torch", module), []
    ours = {f"{path}{name}{end}": array for path, end, part in parts for name, array in _theirs(part).items()}
    refuse_differences("from_torch", arrays, ours, any_real_dtype=True)
    values: dict[Tensor, np.ndarray] = {}
    for path, suffix, part in parts:
        found.append({name: arrays[f"{path}{name}{suffix}"] for name in _layout(part)})
        for name, parameter, array in _ours(part, found[-1]):
            if not np.array_equal(values.setdefault(parameter, array), array, equal_nan=True):
                raise ValueError(f"from_torch: {path}{name}{suffix} is a parameter that is shared, and has two values")
    for parameter, array in values.items():
        parameter.data = array
    for (*_, part), arrays_of_part in zip(parts, found, strict=True):
        part.found_in_torch = arrays_of_part  # on the part itself, so that copies of a net have it too


def _layout(part: Cell | Linear) -> dict[str, list[Tensor]]:
    """PyTorch's names of the arrays of a cell or a dense layer, and the parameters that are stacked in each.

    The second bias of a cell has none, or c_n of a GRU, which is at its end.
    """
    if isinstance(part, Linear):
        return {"weight": [part.V]} | ({} if part.c is None else {"bias": [part.c]})
    W, U, b = ([getattr(part, letter + gate) for gate in part.gates] for letter in "WUb")
    own = [part.c_n] if isinstance(part, GRUCell) else []
    return {"weight_ih": W, "weight_hh": U} | ({} if b[0] is None else {"bias_ih": b, "bias_hh": own})


def _theirs(part: Cell | Linear) -> dict[str, np.ndarray]:
    """The parameters as PyTorch has them, with a second bias of zeros where there is no c_n."""
    arrays = {name: np.concatenate([p.value for p in stacked]) for name, stacked in _layout(part).items() if stacked}
    if "bias_ih" in arrays:
        second, own = np.zeros_like(arrays["bias_ih"]), arrays.get("bias_hh", ())
        second[len(second) - len(own) :] = own
        arrays["bias_hh"] = second
    return arrays


def _ours(part: Cell | Linear, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Tensor, np.ndarray]]:
    """The values that PyTorch's arrays give the parameters, each with the name of its array."""
    layout = _layout(part)
    with np.errstate(all="ignore"):  # a sum or a cast may overflow to an infinity, as it would in PyTorch
        arrays = {name: array.astype((layout[name] or layout["bias_ih"])[0].dtype) for name, array in arrays.items()}
        if "bias_hh" in arrays:
            second = arrays["bias_hh"]
            shared = len(second) - sum(p.size for p in layout["bias_hh"])
            arrays["bias_ih"][:shared] += second[:shared]
            arrays["bias_hh"] = second[shared:]
    for name, stacked in layout.items():
        for parameter, array in zip(stacked, np.split(arrays[name], len(stacked)) if stacked else (), strict=True):
            yield name, parameter, array


def _parts_of(call: str, module: Module) -> list[tuple[str, str, Cell | Linear]]:
    """Every cell and dense layer, as `_parts` gives them, if PyTorch has such cells and all parameters are theirs."""
    parts = list(_parts(instance(f"{call}(module)", module, Module, "a module"), ""))
    kinds = (RNNCell, LSTMCell, GRUCell, Linear)  # these alone: a subclass may have other equations
    if own := [type(part).__name__ for *_, part in parts if type(part) not in kinds]:
        raise ValueError(f"{call}: PyTorch has no {own[0]}")
    placed = {p for *_, part in parts for stacked in _layout(part).values() for p in stacked}
    others = [name for name, p in module.named_parameters() if p not in placed]
    if others:
        raise ValueError(f"{call}: PyTorch's layout has no place for {', '.join(others)}")
    return parts


def _parts(module: Module, path: str) -> Iterator[tuple[str, str, Cell | Linear]]:
    """Every cell and dense layer, with its path and the suffix of its layer as PyTorch has them."""
    if isinstance(module, Bidirectional) and len(module.forth.cells) == len(module.back.cells) == 1:
        yield from ((path, f"_l0{end}", net.cells[0]) for net, end in ((module.forth, ""), (module.back, "_reverse")))
    elif isinstance(module, Recurrent):
        yield from ((path, f"_l{layer}", cell) for layer, cell in enumerate(module.cells))
    elif isinstance(module, (Cell, Linear)):
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
