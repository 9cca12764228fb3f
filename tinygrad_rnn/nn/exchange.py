"""Parameters on disk, and to PyTorch and back: `save` and `load`, `to_torch` and `from_torch`."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.files import write_file
from tinygrad_rnn.nn.cells import Cell, GRUCell
from tinygrad_rnn.nn.module import Linear, Module
from tinygrad_rnn.nn.recurrent import Recurrent
from tinygrad_rnn.tensor import Tensor

__all__ = ["from_torch", "load", "save", "to_torch"]


def save(path: str | os.PathLike, module: Module) -> Path:
    """Write a module's parameters to an .npz file of plain arrays, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez(content, **module.state_dict())
    return write_file(path, content.getvalue())


def load(path: str | os.PathLike, module: Module) -> None:
    """Set a module's parameters to those in a file that `save` has written; nothing in it can run code.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or its names, shapes or dtypes are not the module's; all that differ are listed,
            and the module is as it was.
    """
    content = io.BytesIO(Path(path).read_bytes())
    try:
        file = np.load(content, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds one array and no names")
        module.load_state_dict({name: file[name] for name in file.files})
    except (ValueError, EOFError, AttributeError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"load({os.fspath(path)!r}): {error}") from error


def to_torch(module: Module) -> dict[str, np.ndarray]:
    """The parameters of RNN, LSTM, GRU, their cells, Linear and nets of these, named and laid out as PyTorch does.

    PyTorch has two biases where there is one here, and adds them up: `bias_hh` is zero, or what it was when
    `from_torch` read it, and `bias_ih` is the rest.

        net = torch.nn.LSTM(2, 3, dtype=torch.float64)
        net.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(lstm).items()})
    """
    arrays = {}
    for path, layer, part in _parts(module, ""):
        if isinstance(part, Linear):
            arrays |= {f"{path}weight": part.V.numpy()} | ({} if part.c is None else {f"{path}bias": part.c.numpy()})
            continue
        W, U, b = ([getattr(part, letter + gate) for gate in part.gates] for letter in "WUb")
        arrays[f"{path}weight_ih{layer}"] = np.concatenate([p.value for p in W])
        arrays[f"{path}weight_hh{layer}"] = np.concatenate([p.value for p in U])
        if b[0] is not None:
            both, hidden = np.concatenate([p.value for p in b]), part.torch_bias_hh
            hidden = np.zeros_like(both) if hidden is None else hidden
            if isinstance(part, GRUCell):  # whose last gate has two biases here too
                hidden = np.concatenate([hidden[: -part.hidden_size], part.c_n.value])
                both[-part.hidden_size :] += part.c_n.value
            arrays[f"{path}bias_ih{layer}"], arrays[f"{path}bias_hh{layer}"] = both - hidden, hidden
    return arrays


def from_torch(module: Module, state_dict: Mapping[str, Any]) -> None:
    """Set a module's parameters to those of a PyTorch module of the same kind and sizes; all of them, or none.

    Raises:
        ValueError: names or shapes differ; lists every difference.
    """
    arrays = {k: np.asarray(v.detach() if hasattr(v, "detach") else v) for k, v in state_dict.items()}
    ours = to_torch(module)
    differences = [f"{name} is missing" for name in ours if name not in arrays]
    for name, array in arrays.items():
        if name not in ours:
            differences.append(f"{name} has no counterpart")
        elif array.shape != ours[name].shape:
            differences.append(f"{name} is {array.shape} and should be {ours[name].shape}")
    if differences:
        raise ValueError(f"from_torch: {'; '.join(differences)}")
    for path, layer, part in _parts(module, ""):
        if isinstance(part, Linear):
            _set([part.V], arrays[f"{path}weight"])
            if part.c is not None:
                _set([part.c], arrays[f"{path}bias"])
            continue
        W, U, b = ([getattr(part, letter + gate) for gate in part.gates] for letter in "WUb")
        _set(W, arrays[f"{path}weight_ih{layer}"])
        _set(U, arrays[f"{path}weight_hh{layer}"])
        if b[0] is not None:
            both, hidden = np.array(arrays[f"{path}bias_ih{layer}"]), arrays[f"{path}bias_hh{layer}"]
            part.torch_bias_hh, own = np.array(hidden), slice(-part.hidden_size, None)
            if isinstance(part, GRUCell):
                _set([part.c_n], hidden[own])
                hidden = np.concatenate([hidden[: -part.hidden_size], np.zeros_like(hidden[own])])
            _set(b, both + hidden)


def _parts(module: Module, path: str) -> Iterator[tuple[str, str, Cell | Linear]]:
    """Every cell and dense layer, with its path and the suffix of its layer as PyTorch has them."""
    if isinstance(module, Recurrent):
        yield from ((path, f"_l{layer}", cell) for layer, cell in enumerate(module.cells))
    elif isinstance(module, (Cell, Linear)):
        yield path, "", module
    else:
        for name, part in module.named_modules():
            yield from _parts(part, f"{path}{name}.")


def _set(parameters: list[Tensor], stacked: np.ndarray) -> None:
    for parameter, array in zip(parameters, np.split(stacked, len(parameters)), strict=True):
        parameter.data = array.astype(parameter.dtype)
