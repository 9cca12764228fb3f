"""Level "states": the variables with which texts begin, x(t), h(t), y(t) and E(t), found in any recorded graph.

- The states, which one step hands on to another; those that depend on each other, as h and c of an LSTM, are one node.
- The data that they are made of.
- What is read out of them, outputs and losses, without their targets.
- The variables that all ways into a state pass through before they meet weights, as the hidden layer of a net that
  feeds back its output.

All else is folded away, pre-activations, gates and parameters; the weights stand on the arrows.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from tinygrad_rnn.algebra.formulas import Use, fold, hands_on, inside, is_product
from tinygrad_rnn.algebra.notation import is_parameter
from tinygrad_rnn.tensor import GradientName, Tensor

Uses = dict[Tensor, list[Use]]  # of variables in each other
Role = tuple  # of a variable, alike in every step: its name, layer and primes, and whether it has no step


class States:
    """The variables that level "states" keeps of a graph.

    Args:
        order: the graph in topological order. uses: its variables, as level "named" has them. states: those of them
            that are carried from step to step. ends: those that are kept whatever they are. role: that of a variable.

    Attributes:
        groups: the parts of states that are drawn as one, by the first of them.
        uses: what each that is kept is made of, with the parameters, which are not drawn, and those as weights.
    """

    def __init__(self, order: Sequence[Tensor], uses: Uses, states: set[Tensor], ends: set[Tensor], role: Callable):
        self.states, self.role = states, role
        self.sources = {x: [use for use in made_of if not is_parameter(use.source)] for x, made_of in uses.items()}
        into_states: set[Tensor] = set()
        for x in reversed(uses):
            if x in states or x in into_states:
                into_states.update(use.source for use in self.sources[x])
        parameters = set(filter(is_parameter, uses))
        given = {x for x, made_of in self.sources.items() if not made_of and (x.is_leaf or x in into_states)}
        self.data = given - parameters - states
        read_out = uses.keys() - given - into_states - states
        users = Counter(use.source for made_of in self.sources.values() for use in made_of)
        arguments = {x.inputs[0] for x in read_out if len(x.inputs) == 1 and x.inputs[0].shape == x.shape}  # ĥ of f(ĥ)
        read_out -= {x for x in arguments if users[x] == 1 and self.sources[x]} - ends
        self.kept = {*states, *ends, *self.data, *parameters, *read_out}
        self.kept.update(x for state in states for x in self._layers(state))
        folded = {x.born for x in uses.keys() - self.kept}
        self.kept -= {x for x in self.kept if isinstance(x.name, GradientName) and x.name.born in folded} - ends
        self.drawn = self.kept - parameters
        named = fold(order, self.kept)
        self.groups = self._groups(named)
        first = {x: parts[0] for parts in self.groups.values() for x in parts}
        self.uses: Uses = {}
        for x, made_of in named.items():
            target, weights = first.get(x, x), self._weights(x)
            is_read_out = x not in states and x not in into_states
            self.uses.setdefault(target, [])
            for use in made_of:
                source = first.get(use.source, use.source)
                is_target = is_read_out and use.source in self.data and not weights[use.source]
                if source is not target and not is_target:  # the data of a loss are no part of the picture
                    self.uses[target].append(use._replace(source=source, weights=weights[use.source]))

    def _layers(self, x: Tensor) -> list[Tensor]:
        """The variables that all ways into a state pass through, and that weights follow on."""
        found, weighted = [], False
        while len(self.sources[x]) == 1:
            (use,) = self.sources[x]
            x, weighted = use.source, weighted or _has_matrix(use)
            if x in self.states or x in self.data:
                break
            if weighted:
                found.append(x)
                weighted = False
        return found

    def _weights(self, target: Tensor) -> dict[Tensor, list[Tensor]]:
        """Per variable that a target is made of, the parameters that it is multiplied by on its way there.

        What has become a gate, σ(W_f x), is not multiplied by what comes after: that belongs to what it gates.
        """
        found: dict[Tensor, dict[tuple[Tensor, bool], dict[Tensor, None]]] = {}
        for node in sorted(inside(target, lambda x: x in self.kept or x.is_leaf), key=lambda x: x.born):
            found[node] = defaultdict(dict)
            ways = [found.get(x, {(x, False): {}}) for x in node.inputs]
            drawn = [any(source in self.drawn for source, _ in way) for way in ways]
            for i, way in enumerate(ways):
                factors = _factors(node, i)
                beside = [x for k in factors if not drawn[k] for x, _ in ways[k] if is_parameter(x)]
                gates = any(drawn[k] for k in factors)
                for (source, gating), weights in way.items():
                    more = {} if gating else dict.fromkeys(beside)
                    found[node][source, gating or (gates and bool(weights))] |= weights | more
        total: dict[Tensor, list[Tensor]] = defaultdict(list)
        for (source, _), weights in found[target].items():
            total[source] += weights
        return total

    def _groups(self, uses: Uses) -> dict[Tensor, tuple[Tensor, ...]]:
        """The states of a step that depend on each other, with no matrix in between: (h, c), by its h."""
        states = [x for x in uses if x in self.states]
        read: dict[Role, set[Role]] = defaultdict(set)  # the states that each is made of
        for x in states:
            read[self.role(x)].update(self.role(use.source) for use in uses[x] if use.source in self.states)
        first: dict[Role, Role] = {}  # the h of every c
        for x in states:
            for y in [use.source for use in uses[x] if not _has_matrix(use) and use.source.step == x.step]:
                if y in self.states and y.shape == x.shape and self.role(x) in read[self.role(y)]:
                    first[self.role(y)] = self.role(x)
        found: dict[tuple, list[Tensor]] = defaultdict(list)
        for x in sorted(states, key=lambda x: self.role(x) in first):
            role = first.get(self.role(x), self.role(x))
            if role in first.values():
                found[role, x.step, x.is_leaf].append(x)
        return {parts[0]: tuple(parts) for parts in found.values() if len(parts) > 1}


def _has_matrix(use: Use) -> bool:
    """True if a variable is multiplied by a matrix on its way into another."""
    return use.hops is None or any(map(is_product, use.hops))


def _factors(node: Tensor, i: int) -> list[int]:
    """The inputs of a node that its input i is multiplied by."""
    pairs = node.primitive.products
    if pairs:
        return [k for pair in pairs if i in pair for k in pair if k != i]
    return [] if hands_on(node.primitive, i) else [k for k in range(len(node.inputs)) if k != i]
