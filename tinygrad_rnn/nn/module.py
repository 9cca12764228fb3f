"""Modules have parameters: `Module`, `Parameter`, and the `Letters` they are called by."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import instance, one_of
from tinygrad_rnn.tables import counted
from tinygrad_rnn.tensor import Tensor, bare


def Parameter(data: Any, name: str | None = None) -> Tensor:
    """A leaf that requires a gradient and belongs to no time step, wherever it is made, since all steps share it.

    It is no class of its own: attributes of objects that are all of one type are read in a fraction of the time.

    >>> tg.nn.Parameter([0.5], name="a")
    Tensor([0.5], requires_grad=True, name='a')
    """
    parameter = Tensor(data, requires_grad=True, name=name)
    parameter.step = parameter.layer = None
    return parameter


class Letters(dict):
    """The letters of a net, each made when it is first asked for; with a name they carry it: W_enc and W_{i,enc}.

    Raises:
        TypeError: the name is no text. ValueError: it has other characters than letters and digits.
    """

    def __init__(self, call: str, name: str | None):
        if name is not None and not instance(f"{call}(name=...)", name, str, "a text").isalnum():
            raise ValueError(f"{call}(name={name!r}): letters and digits are needed, as in 'enc'")
        self.name = name

    def __missing__(self, letter: str) -> Letter:
        base, _, below = letter.partition("_")
        below = below if self.name is None else f"{{{below},{self.name}}}" if below else self.name
        return self.setdefault(letter, Letter(f"{base}_{below}" if below else base))


class Module:
    """The base class of layers and nets.

    Its parameters are the leaves among its attributes that require a gradient, and the parameters of the modules there;
    also those in lists, tuples and dicts, which add an index or a key to the path.

    What has been a parameter stays one when it is frozen, by `p.requires_grad = False`: it is saved and loaded, but no
    optimizer changes it.

    A subclass states its equations in `__call__`, or as in PyTorch in `forward`.

    Attributes:
        training: whether it is being trained, which is what `Dropout` asks; set by `train` and `eval`.

    >>> class Scaled(tg.nn.Module):
    ...     def __init__(self):
    ...         self.a, self.dense = tg.nn.Parameter([2.0], name="a"), tg.nn.Linear(3, 1)
    ...     def __call__(self, x):
    ...         return self.a * self.dense(x)
    ...
    >>> [path for path, p in Scaled().named_parameters()]
    ['a', 'dense.V', 'dense.c']
    """

    training = True
    forward: Callable[..., Any]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The result of the `forward` of a subclass."""
        return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute.

        Raises:
            TypeError: it is a parameter, which would be neither learnt nor saved any more, and the value is none.
        """
        before, after = (self._own_parameters({name: x}) for x in (vars(self).get(name), value))
        if before and not after and any(x is not None for _, x in _members({name: value})):
            raise self._lost(name, value)
        super().__setattr__(name, value)

    def _own_parameters(self, attributes: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
        """(path, parameter) of the leaves among attributes that require a gradient, or did before they were frozen.

        Raises:
            TypeError: in a list, tuple or dict something else is in the place of a parameter that was seen there.
        """
        seen = vars(self).setdefault("parameter_paths", set())  # no subclass has to call an __init__
        own = []
        for path, x in _members(attributes):
            if isinstance(x, Tensor) and x.is_leaf and x.is_parameter:
                own.append((path, x))
            elif "." in path and path in seen and x is not None:
                raise self._lost(path, x)
        seen.update(path for path, _ in own)
        return own

    def _lost(self, path: str, value: Any) -> TypeError:
        what = f"{type(self).__name__}.{path} is a parameter, and a {type(value).__name__} is none"
        return TypeError(f"{what}; set its .data, or give a Parameter")

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) of the modules among its attributes, such as ("cells.0", cell); a shared one under each."""
        return ((path, value) for path, value in _members(vars(self)) if isinstance(value, Module))

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(path, parameter), its own first, then those of its modules, such as ("cells.0.W", W); frozen ones too.

        A parameter that is shared is listed once, under its first path; so it is in `state_dict` and in files.
        """
        own, paths = self._own_parameters(vars(self)), dict[Tensor, str]()
        inner = [(f"{path}.{name}", p) for path, part in self.named_modules() for name, p in part.named_parameters()]
        for path, parameter in own + inner:
            paths.setdefault(parameter, path)
        return ((path, parameter) for parameter, path in paths.items())

    def parameters(self) -> list[Tensor]:
        """The parameters, in the order of `named_parameters`."""
        return [parameter for _, parameter in self.named_parameters()]

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of every parameter's value, by its path."""
        return {path: parameter.numpy() for path, parameter in self.named_parameters()}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Set every parameter to the value at its path; all of them, or none if one does not fit.

        Raises:
            ValueError: names, shapes or dtypes differ; lists every difference.
        """
        parameters = dict(self.named_parameters())
        instance("load_state_dict(values)", values, Mapping, "a state dict")
        arrays = {path: np.asarray(bare(value)) for path, value in values.items()}
        refuse_differences("load_state_dict", arrays, parameters)
        for path, parameter in parameters.items():
            parameter.data = arrays[path]

    def __repr__(self) -> str:
        """The module and those in it, a line for each: path, class, how many numbers it learns, and its own parameters.

        >>> tg.nn.RNN(2, 3)
        RNN, 18 parameters
          cells.0: RNNCell, 18 parameters: W (3, 2), U (3, 3), b (3,)
        """
        own = ", ".join(f"{path} {p.shape}" for path, p in self._own_parameters(vars(self)))
        count = counted(sum(p.size for p in self.parameters()), "parameter")
        inner = [textwrap.indent(f"{path}: {module!r}", "  ") for path, module in self.named_modules()]
        return "\n".join([f"{type(self).__name__}, {count}{own and ': '}{own}", *inner])

    def train(self, mode: bool = True) -> Module:
        """Set `training`, here and in the modules among its attributes; returns the module itself."""
        self.training = one_of("train", "mode", mode, (True, False))
        for _, module in self.named_modules():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """Set `training` to False, for a net that is used and not trained; returns the module itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        for parameter in self.parameters():
            parameter.grad = None


def listed(call: str, params: Module | Tensor | Iterable[Tensor]) -> list[Tensor]:
    """Parameters, those of a module or some of one's own, as a list."""
    params = params.parameters() if isinstance(params, Module) else [params] if isinstance(params, Tensor) else params
    params = instance(call, params, Iterable, "a module, or parameters,")
    return [instance(call, p, Tensor, "a parameter, as of net.parameters(),") for p in params]


def refuse_differences(call: str, arrays: Mapping, expected: Mapping, any_real_dtype: bool = False) -> None:
    """Raise a ValueError that lists all in which arrays are not those expected: names, shapes and dtypes."""
    differences = [f"{name} is missing" for name in expected if name not in arrays]
    for name, p in expected.items():
        array = arrays.get(name, p)
        fits = array.dtype.kind in "fiub" if any_real_dtype else array.dtype == p.dtype
        if array.shape != p.shape or not fits:
            differences.append(f"{name} is {array.dtype} {array.shape} and should be {p.dtype} {p.shape}")
    differences += [f"{name} is not a parameter" for name in arrays if name not in expected]
    if differences:
        raise ValueError(f"{call}: {'; '.join(differences)}")


def _members(values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """(path, value) of all values, those in lists, tuples and dicts one by one."""
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            yield from ((f"{name}.{path}", member) for path, member in _members(value))
        else:
            yield str(name), value
