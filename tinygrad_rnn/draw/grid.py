"""The structure of a figure: kinds of columns, the layers in each, the spots in a layer and the chains between them.

    gap   layer 0   1    2    3   4   gap
     h ───[ᵗU]──── ĥ ─[f′(ĥ)]─ h ────── h        a chain of spots in layers that follow each other
                  U b                            which hang from ĥ

- Columns that are alike are of one kind, which is laid out once and drawn as often as there are columns of it.
- In every other layer stand the variables, each with the parameters and data that it alone uses; in the layers between
  them the labels. A line that passes a layer has a spot in it. What is read out of a state stands upon it.
- What goes from column to column does so on a track, which is at one height in all of the gaps between columns: one
  for each state, for what one node reads of many columns, and for what many columns read of one node.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tinygrad_rnn.draw.style import EDGE_FONT
from tinygrad_rnn.tensor import Tensor

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Role = Hashable

LINE = 6.0  # half of what a line takes of the height of a layer
LABEL = 1.3 * EDGE_FONT  # the height of a label, which stands upon its line
NEAR, FAR = 16.0, 34.0  # from a variable to what hangs from it: without labels, and with labels
BESIDE = 8.0  # between what hangs from one variable
LOOP = 74.0  # the width of a loop's label
CUT = 32.0  # from a cut to the border of the state whose past it cuts off


@dataclass(eq=False)
class Place:
    """One drawn occurrence of a Tensor, in a column; a parameter has one in every column that uses it.

    `width` and `height` are those of its shape, in whichever figure it is larger; `carried` says whether it is a state
    that goes on to another column.
    """

    tensor: Tensor
    column: float
    id: str
    kind: str
    carried: bool = False
    role: Role = (None, None, "")
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(eq=False)
class Link:
    """A drawn use of `source` by `target`; `user` is the primitive that takes the source in, itself drawn or folded.

    `paths` are the ways between them, those of the last use first; None if they are too many to be written. `curve` is
    the Bézier curve from one to the other, which begins and ends in their shapes; `middle` that of its label.
    """

    source: Place
    target: Place
    user: Tensor
    paths: list | None = None
    curve: tuple[Point, ...] = ()
    middle: Point | None = None


@dataclass(eq=False)
class Spot:
    """What a layer keeps free for a variable with what hangs from it, for a label, or for a line that passes.

    `up` and `down` are how far it reaches from its depth, which grows downwards; `core` is how large the variable is.
    `boxes` (left, top, right, bottom) are what it covers, from its middle. `hung` says how far aside and how far down
    each parameter and datum stands; and `lanes` on which side the sum of a parameter runs, or then how far down.
    """

    up: float = LINE
    down: float = LINE
    core: Point = (0.0, 0.0)
    boxes: list[Box] = field(default_factory=list)
    hung: dict[Role, Point] = field(default_factory=dict)
    lanes: dict[Tensor, float] = field(default_factory=dict)
    depth: float = 0.0
    x: float = 0.0

    def extend(self, off: float, half: float) -> None:
        """Let it reach to a line far above or below it."""
        left, right = min(box[0] for box in self.boxes), max(box[2] for box in self.boxes)
        self.boxes.append((left, self.down, right, off) if off > 0.0 else (left, off, right, -self.up))
        self.up, self.down = max(self.up, half - off), max(self.down, half + off)

    @property
    def is_node(self) -> bool:
        """Whether it is one for a variable."""
        return self.core[0] > 0.0


@dataclass(eq=False)
class Joint:
    """A piece of a line, from a spot to one in the next layer: how far below the middles of these it begins and ends.

    The stronger, the more should it be level. Between `start` and `end` it changes from one height to the other.
    """

    left: Spot
    right: Spot
    kind: "Kind"
    strength: float = 0.0
    off: list[float] = field(default_factory=lambda: [0.0, 0.0])
    start: float = 0.0
    end: float = 0.0

    @property
    def depths(self) -> Point:
        """The heights of its ends."""
        return self.left.depth + self.off[0], self.right.depth + self.off[1]

    @property
    def is_bent(self) -> bool:
        """Whether it is not level."""
        return abs(self.depths[0] - self.depths[1]) > 0.5


@dataclass
class Chain:
    """The joints of a line through a column, from the left to the right, and the spot of its label."""

    joints: list[Joint]
    label: Spot | None = None


class Kind:
    """A kind of column: what stands in it, by roles, and the lines in it.

    Attributes:
        numbers: of its columns.
        uses: the links on each line: (1, a, b) to the right from a role or track to another, (-1, a, b) to the left,
            and (0, a, b) within the column.
        hangs, stands: from which role a parameter or a datum hangs, and on which one a read-out stands.
    """

    def __init__(self, is_step: bool):
        self.is_step = is_step
        self.numbers: list[int] = []
        self.places: dict[Role, list[Place]] = defaultdict(list)
        self.uses: dict[tuple, list[Link]] = defaultdict(list)
        self.hangs: dict[Role, Role] = {}
        self.stands: dict[Role, Role] = {}
        self.layer_of: dict[Role, int] = {}
        self.layers: list[list[Spot]] = [[], [], []]
        self.spots: dict[Role, Spot] = {}
        self.chains: dict[tuple, Chain] = {}
        self.width = 0.0

    @property
    def joints(self) -> list[Joint]:
        """All pieces of lines."""
        return [joint for chain in self.chains.values() for joint in chain.joints]

    def size(self, role: Role) -> Point:
        """The width and height of a variable, in whichever column it is larger."""
        return max(p.width for p in self.places[role]), max(p.height for p in self.places[role])

    def chain(self, key: tuple, spots: Sequence[Spot], begin: int, end: int, strength: float = 0.0) -> Chain:
        """Lead a line through the layers between two."""
        between = [Spot() for _ in range(begin + 1, end)]
        for number, spot in enumerate(between, begin + 1):
            self.layers[number].append(spot)
        joints = [Joint(a, b, self, strength) for a, b in pairwise([spots[0], *between, spots[1]])]
        self.chains[key] = Chain(joints)
        return self.chains[key]


class Grid:
    """The kinds of columns of a figure, and the tracks between them.

    Args:
        room: how wide a link's label is.
        shared: the parameters that several columns use, each with its places.
        loops: of a rolled graph, the states that go back, where to, and over how many steps.
        upright: whether in a step all that is made of one variable, as a gate of its preactivation, stands upon it.
        level: what is not to stand upon something.

    Attributes:
        pieces: of each link, and each loop, the columns that it goes through, and the line in each.
    """

    def __init__(
        self,
        places: Sequence[Place],
        links: Sequence[Link],
        steps: Sequence[int],
        shared: dict[Tensor, list[Place]],
        loops: Sequence[tuple[Place, Place, int]],
        room: Callable[[Link], float],
        upright: bool = False,
        level: Collection[Role] = (),
    ):
        self.shared, self.room, self.upright, self.level = shared, room, upright, level
        self.columns = sorted({p.column for p in places})
        if any(p.column == self.columns[0] and not (p.carried and p.tensor.is_leaf) for p in places) and shared:
            self.columns.insert(0, self.columns[0] - 1)  # for what the sums make
        self.number = {column: i for i, column in enumerate(self.columns)}
        self.role = self._roles(places, links)
        self.kinds = self._kinds(places, steps)
        self.gap: list[Spot] = []
        self.tracks: dict[Hashable, Spot] = {}
        self.back: set[Spot] = set()  # the tracks on which loops go back
        self.pieces: dict[Link | tuple[Place, Place], list[tuple[int, tuple]]] = {}
        self._lead(links)
        for state, start, _ in loops:
            self._lead_back(state, start)
        for kind in dict.fromkeys(self.kinds):
            self._hang(kind)
            self._fill(kind)

    def _roles(self, places: Sequence[Place], links: Sequence[Link]) -> dict[Place, Role]:
        """What each place is in its column: a name and a layer, or an input of something that has a role."""
        used: dict[Place, tuple[Place, int]] = {}  # the last of what uses it, and the how-manyth input it is of that
        inputs: dict[Place, int] = defaultdict(int)
        for link in links:
            inputs[link.target] += 1
            if link.source.column == link.target.column:
                used[link.source] = link.target, inputs[link.target]
        role: dict[Place, Role] = {}
        taken: dict[tuple, int] = defaultdict(int)
        for p in reversed(places):
            named = p.kind == "elided" or (p.tensor.name is not None and p.kind != "parameter")
            base = p.role if named or p not in used else (role[used[p][0]], used[p][1])
            role[p] = base, taken[p.column, base]
            taken[p.column, base] += 1
        return role

    def _kinds(self, places: Sequence[Place], steps: Sequence[int]) -> list[Kind]:
        """The kind of each column: steps that have something in common are of one, and columns that have everything."""
        inside: dict[float, dict[Role, Place]] = {column: {} for column in self.columns}
        for p in places:
            inside[p.column][self.role[p]] = p
        made: dict[Kind, set[Role]] = {}
        found, first = [], None  # which has what the sums make
        for column, standing in inside.items():
            is_step = column in steps
            roles = {role for role, p in standing.items() if not (is_step and p.tensor.is_leaf)}
            alike = [
                k
                for k, of in made.items()
                if k.is_step == is_step and k is not first and (of & roles if is_step else of == roles)
            ]
            kind = alike[0] if alike else Kind(is_step)
            first = first or kind
            made.setdefault(kind, set()).update(roles)
            kind.numbers.append(len(found))
            for role, p in standing.items():
                kind.places[role].append(p)
            found.append(kind)
        return found

    def spot(self, p: Place) -> Spot:
        """The spot in which a place is."""
        kind, role = self.kinds[self.number[p.column]], self.role[p]
        return kind.spots[kind.hangs.get(role, role)]

    def track(self, key: Hashable) -> Spot:
        """The track in the gaps that has a key, which is made where there is none."""
        if key not in self.tracks:
            self.tracks[key] = Spot()
            self.gap.append(self.tracks[key])
        return self.tracks[key]

    def _lead(self, links: Sequence[Link]) -> None:
        """Lead every link through its columns.

        One to the next column runs on the track of its source's role, and one that reaches further from track to track
        of the role. But what one node reads of many columns comes together on one track, as does what many columns
        read of one node.
        """
        far: dict[tuple, set[Place]] = defaultdict(set)  # the sources of a role with links beyond the next column
        read_at: dict[Place, set[Role]] = defaultdict(set)  # the roles that read a source there
        into: dict[tuple, set[Place]] = defaultdict(set)  # the sources of a role that a target reads
        for link in links:
            source, (i, j) = self.role[link.source], (self.number[p.column] for p in (link.source, link.target))
            into[source, link.target, i < j].add(link.source)
            if abs(j - i) > 1:
                far[source, i < j].add(link.source)
                read_at[link.source].add(self.role[link.target])
        for link in links:
            i, j = (self.number[p.column] for p in (link.source, link.target))
            source, target, sign = self.role[link.source], self.role[link.target], (j > i) - (j < i)
            if len(into[source, link.target, i < j]) > 1 and not self.kinds[j].is_step:
                keys = [(link.target, sign)] * abs(j - i)
            elif far[source, i < j] == {link.source} and target in read_at[link.source]:
                keys = [(link.source, sign)] * abs(j - i)
            else:
                keys = [(source, sign, passed) for passed in range(abs(j - i))]
            way = pairwise([source, *map(self.track, keys), target])
            self.pieces[link] = [(i + sign * k, (sign, *ends)) for k, ends in enumerate(way)]
            for number, key in self.pieces[link]:
                self.kinds[number].uses[key].append(link)

    def _lead_back(self, state: Place, start: Place) -> None:
        """Lead a loop on from a state in the direction of its time, back on a track of its own, and into its start."""
        first, last = self.number[start.column], self.number[state.column]
        sign = 1 if first < last else -1
        out, back = self.track((self.role[state], sign, 0)), self.track(("loop", state, start))
        self.back.add(back)
        way = [(last, (sign, self.role[state], out))]
        way += [(number, (-sign, back, back)) for number in range(last, first - sign, -sign)]
        way.append((first, (sign, self.track((self.role[start], sign, 0)), self.role[start])))
        self.pieces[state, start] = way
        for number, key in way:
            self.kinds[number].uses[key] += []

    def _hang(self, kind: Kind) -> None:
        """Let parameters and data hang from the one variable that uses them, if that has something else to be made of;
        and let what is made of nothing but a state, or of what stands on one, stand on it."""
        users: dict[Role, list] = defaultdict(list)
        used: dict[Role, list] = defaultdict(list)
        for _, a, b in kind.uses:
            users[a].append(b)
            used[b].append(a)
        for role, places in kind.places.items():
            loose = all(p.tensor.is_leaf and p.kind in ("parameter", "input") for p in places)
            if loose and len(users[role]) == 1 and users[role][0] in kind.places:
                kind.hangs[role] = users[role][0]
        for role in kind.places:
            if used[role] and all(kind.hangs.get(a) == role for a in used[role]):
                data = [a for a in used[role] if kind.places[a][0].kind == "input"]
                del kind.hangs[(data or used[role])[0]]
        carried = {a for sign, a, b in kind.uses if self.tracks.get((a, 1, 0)) is b and kind.places[a][0].carried}
        for role in kind.places:  # in topological order
            made_of = [a for a in used[role] if a in kind.places and a not in kind.hangs]
            # a state stands on another only where it goes on by itself, not by way of its preactivation
            free = role not in carried or self.tracks[role, 1, 0] in used[role]
            base = made_of[0] if free and len(made_of) == 1 and role not in self.level else None
            under = carried | kind.stands.keys()
            if self.upright and kind.is_step and all(a == base or a in kind.hangs for a in used[role]):
                under |= {a for a in made_of if not kind.places[a][0].tensor.is_leaf}
            if base in under and base not in kind.stands.values():
                kind.stands[role] = base

    def _layers(self, kind: Kind) -> dict[Role, int]:
        """The layer of each variable: beyond those of what it is made of; against time, beyond those that it makes."""
        edges = [(a, b) for sign, a, b in kind.uses if sign == 0 and a not in kind.hangs]
        entered = _closure([b for sign, _, b in kind.uses if sign < 0 and b in kind.places], edges)
        left = _closure([a for sign, a, _ in kind.uses if sign < 0 and a in kind.places], [(b, a) for a, b in edges])
        back = entered & left
        before: dict[Role, list[Role]] = defaultdict(list)
        after: dict[Role, list[Role]] = defaultdict(list)
        for a, b in edges:
            a, b = (b, a) if a in back and b in back else (a, b)
            before[b].append(a)
            after[a].append(b)
        rank: dict[Role, int] = {}
        begun: set[Role] = set()

        def ranked(role: Role) -> int:
            if role not in begun:
                begun.add(role)
                rank[role] = max([ranked(a) + (kind.stands.get(role) != a) for a in before[role]], default=0)
            return rank.get(role, -1)

        nodes = [role for role in kind.places if role not in kind.hangs]
        for role in nodes:
            ranked(role)
        from_left = {b for sign, _, b in kind.uses if sign > 0}
        for role in nodes:
            if not before[role] and after[role] and role not in from_left:
                rank[role] = max(0, min(rank[b] for b in after[role]) - 1)
        return {role: 2 * rank[role] + 1 for role in nodes}

    def _fill(self, kind: Kind) -> None:
        """Put spots into the layers of a kind of column, and chains between them."""
        kind.layer_of = layer = self._layers(kind)
        last = max(layer.values(), default=1) + 2
        kind.layers = [[] for _ in range(last)]
        under: dict[Role, list[Role]] = defaultdict(list)
        for role, of in kind.hangs.items():
            under[of].append(role)
        for role in layer:
            kind.spots[role] = self._spot(kind, role, under[role])
            kind.layers[layer[role]].append(kind.spots[role])
        lines = [key for key in kind.uses if key[1] not in kind.hangs and kind.stands.get(key[2], key) != key[1]]
        fed = _closure([b for sign, a, b in lines if sign > 0 and a not in layer], [key[1:] for key in lines])
        out, into = defaultdict(int), defaultdict(int)
        for _, a, b in lines:
            out[a] += 1
            into[b] += 1
        for sign, a, b in lines:
            key = sign, a, b
            width = max([self.room(link) for link in kind.uses[key] if self.is_labelled(link, kind, key)], default=0.0)
            width = LOOP if kind.is_step and a in self.back else width
            begin = layer.get(a, -1 if sign > 0 else last)
            end = layer.get(b, last if sign > 0 else -1)
            way = 1 if begin < end else -1
            if not (a in layer or b in layer) or self.tracks.get((b, sign, 0)) is a:
                strength = 6.0  # it passes, or is a state that goes on by itself
            elif b not in layer:
                strength = 6.0 if self.tracks.get((a, sign, 0)) is b and kind.places[a][0].carried else 4.0
            elif into[b] == 1:
                strength = 5.0
            else:
                strength = (
                    2.0 if a not in layer else 1.0 if kind.places[a][0].tensor.is_leaf else 3.0 + 0.2 * (a in fed)
                )
            ends = [kind.spots.get(a, a), kind.spots.get(b, b)]
            chain = kind.chain(key, ends[::way], *sorted((begin, end)), strength + 0.5 * (width > 0.0))
            if width:
                at_source = a in layer and (b not in layer or out[a] <= into[b])
                number = begin + way if at_source else end - way
                chain.label = chain.joints[number - min(begin, end)].left
                chain.label.up, chain.label.down = LABEL, LINE / 2
                chain.label.boxes = [(-width / 2, -LABEL, width / 2, 2.0)]

    def is_labelled(self, link: Link, kind: Kind, key: tuple) -> bool:
        """Whether the label of a link stands in this piece of it: the last, or the first where many come together."""
        sign, a, b = key
        return (a if self.tracks.get((link.target, sign)) in (a, b) else b) in kind.places

    def _spot(self, kind: Kind, role: Role, hung: Sequence[Role]) -> Spot:
        """The spot of a variable, with what hangs from it: data above, and parameters that meet these; others below.

        All is above where the variable stands on another, and on the left there where another stands on it.
        """
        width, height = kind.size(role)
        spot = Spot(height / 2, height / 2, (width, height))
        is_cut = any(p.tensor.is_leaf and p.tensor.is_cut for p in kind.places[role])
        cut = CUT + 12.0 if is_cut else 0.0
        spot.boxes = [(-width / 2 - cut, -height / 2, width / 2, height / 2)]
        spot.lanes = {p.tensor: 1 for p in kind.places[role] if p.tensor in self.shared}
        uses = {a: kind.uses[0, a, role] for a in hung}
        data = {link.user for a in hung if kind.places[a][0].kind == "input" for link in uses[a]}
        above = [a for a in hung if role in kind.stands or any(link.user in data for link in uses[a])]
        for sign, row in ((-1, above), (1, [a for a in hung if a not in above])):
            x, at, labelled = 0.0, [], False
            for a in row:
                half, label = kind.size(a)[0] / 2, max(map(self.room, uses[a]), default=0.0)
                at.append(x + half)
                labelled |= label > 0.0
                x += half + max(half, label + 5.0) + BESIDE
            if not row:
                continue
            left = -x if sign < 0 and role in kind.stands.values() else -(at[0] + at[-1]) / 2
            near = height / 2 + (FAR if labelled else NEAR)
            reach = near + max(kind.size(a)[1] for a in row)
            for a, middle in zip(row, at, strict=True):
                spot.hung[a] = left + middle, sign * (near + kind.size(a)[1] / 2)
                spot.lanes |= {p.tensor: sign for p in kind.places[a] if p.tensor in self.shared}
            spot.up, spot.down = (reach, spot.down) if sign < 0 else (spot.up, reach)
            far = sorted((sign * (height / 2 + 0.3 * (near - height / 2)), sign * reach))
            spot.boxes.append((left, far[0], left + x - BESIDE, far[1]))
        if role in kind.stands:
            label = max(map(self.room, kind.uses[0, kind.stands[role], role]), default=0.0)
            spot.down += LABEL + 6.0 if label else 10.0
            spot.boxes.append((-2.0, height / 2, label + 6.0, spot.down))
        return spot


def _closure(start: Sequence[Role], edges: Sequence[tuple[Role, Role]]) -> set[Role]:
    """What is reached from some roles."""
    found, reached = list(start), set(start)
    for role in found:
        new = [b for a, b in edges if a == role and b not in reached]
        reached.update(new)
        found += new
    return reached
