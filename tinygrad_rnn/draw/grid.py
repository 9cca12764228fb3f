"""The structure of a figure: kinds of columns, the layers in each, the spots in a layer and the lines between them.

    gap   layer 0   1    2    3   4   gap
     h ───[ᵗU]──── ĥ ─[f′(ĥ)]─ h ────── h        a line through spots in layers that follow each other
                  U b                            which hang from ĥ

- Columns that are alike are of one kind, which is laid out once and drawn as often as there are columns of it.
- In every other layer stand the variables, each with the parameters and data that it alone uses; in the layers between
  them the labels. A line that passes a layer has a spot in it. What is made of one state stands upon it.
- What goes from column to column does so on a track, which is at one height in all of the gaps between columns: one
  for each state, for what one node reads of many columns, and for what many columns read of one node.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tinygrad_rnn.draw.drawing import Box, Point
from tinygrad_rnn.draw.states import Role
from tinygrad_rnn.draw.style import EDGE_FONT
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded

LINE = 6.0  # half of what a line takes of the height of a layer
LABEL = 1.3 * EDGE_FONT  # the height of a label, which stands upon its line
NEAR, FAR = 16.0, 34.0  # from a variable to what hangs from it: without labels, and with labels
BESIDE = 8.0  # between what hangs from one variable
MANY = 10  # layers, with those of the labels between them
CUT = 32.0  # from a cut to the border of the state whose past it cuts off


@dataclass(eq=False)
class Row:
    """Spots that are level, but for their `off`, below a common depth."""

    spots: list["Spot"]
    depth: float = 0.0

    @property
    def top(self) -> float:
        """Its upper end, from its depth downwards."""
        return min(spot.off - spot.up for spot in self.spots)

    @property
    def bottom(self) -> float:
        """Its lower end."""
        return max(spot.off + spot.down for spot in self.spots)

    def take(self, other: "Row", shift: float) -> None:
        """Take in the spots of another row, so far below these."""
        for spot in other.spots:
            spot.row, spot.off = self, spot.off + shift
        self.spots += other.spots


@dataclass(eq=False)
class Spot:
    """The room that a layer keeps for a variable with what hangs from it, for a label, or for a line that passes.

    `up` and `down` are how far it reaches from its depth, which grows downwards; `boxes` (left, top, right, bottom) are
    what it covers, from its middle. `core` is how large the variable is, and `at` where it stands and what hangs from
    it. Its depth is so far `off` from that of its row.
    """

    up: float = LINE
    down: float = LINE
    core: Point = (0.0, 0.0)
    boxes: list[Box] = field(default_factory=list)
    at: dict[Role, Point] = field(default_factory=dict)
    layer: tuple | None = None
    off: float = 0.0
    x: float = 0.0

    def __post_init__(self) -> None:
        self.row = Row([self])

    @property
    def depth(self) -> float:
        """Its middle, from the top downwards."""
        return self.row.depth + self.off


@dataclass(eq=False)
class Joint:
    """A piece of a line, from a spot to one in the next layer: how far below the middles of these it begins and ends.

    The stronger, the more should it be level. Between `start` and `end` it changes from one height to the other.
    """

    left: Spot
    right: Spot
    strength: float
    off: list[float] = field(default_factory=lambda: [0.0, 0.0])
    start: float = 0.0
    end: float = 0.0

    @property
    def depths(self) -> Point:
        """The depths of its ends."""
        return self.left.depth + self.off[0], self.right.depth + self.off[1]

    @property
    def rise(self) -> float:
        """The height by which it goes up to the right."""
        return self.depths[0] - self.depths[1]

    @property
    def is_bent(self) -> bool:
        """True if it is not level."""
        return abs(self.rise) > 0.5


@dataclass(eq=False)
class Line:
    """A line in a column, which all links from one role or track to another share: its joints, from left to right.

    There are none if its source hangs from its target, or its target stands on its source. `room` is how wide its label
    is, which stands in the spot `label`; `is_turned` whether it runs to the left.
    """

    links: list[Link] = field(default_factory=list)
    room: float = 0.0
    joints: list[Joint] = field(default_factory=list)
    label: Spot | None = None
    is_turned: bool = False


@dataclass(eq=False)
class Kind:
    """A kind of column: what stands in it, by roles, and the lines in it.

    Attributes:
        made: the roles of what is no leaf.
        lines: (1, a, b) to the right from a role or track to another, (-1, a, b) to the left, and (0, a, b) within the
            column.
        hangs, stands: from which role a parameter or a datum hangs, and on which one another stands.
    """

    is_step: bool
    made: set[Role] = field(default_factory=set)
    places: dict[Role, list[Place]] = field(default_factory=lambda: defaultdict(list))
    lines: dict[tuple, Line] = field(default_factory=lambda: defaultdict(Line))
    hangs: dict[Role, Role] = field(default_factory=dict)
    stands: dict[Role, Role] = field(default_factory=dict)
    last: int = 0
    spots: dict[Role, Spot] = field(default_factory=dict)
    width: float = 0.0

    @property
    def joints(self) -> list[Joint]:
        """All pieces of lines."""
        return [joint for line in self.lines.values() for joint in line.joints]

    def size(self, role: Role) -> Point:
        """The width and height of a variable, in whichever column it is larger."""
        return max(p.width for p in self.places[role]), max(p.height for p in self.places[role])


class Grid:
    """The kinds of columns of a figure, and the tracks between them.

    Attributes:
        layers: the spots in each layer: by kind and number, and None for the tracks in the gaps.
        pieces: of each link, and each loop, the columns that it goes through, and the line in each.
        labelled: the piece in which its label stands.

    Args:
        apart: the roles of what must not stand on another, since something would be in between.
    """

    def __init__(self, unfolded: Unfolded, apart: Collection[Role] = ()):
        self.unfolded, self.apart, places = unfolded, apart, unfolded.places
        self.columns = sorted({p.column for p in places})
        if unfolded.shared and self.columns[0] in unfolded.steps:
            self.columns.insert(0, self.columns[0] - 1)  # for what the sums make
        self.number = {column: i for i, column in enumerate(self.columns)}
        self.role = _roles(places, unfolded.links)
        self.kinds = self._kinds()
        self.layers: dict[tuple | None, list[Spot]] = defaultdict(list)
        self.tracks: dict[Hashable, Spot] = defaultdict(lambda: self.add(Spot(), None))
        self.pieces: dict[Link, list[tuple[int, Line]]] = {}
        self.labelled: dict[Link, tuple[int, Line]] = {}
        self._lead([*unfolded.links, *unfolded.loops])
        for kind in dict.fromkeys(self.kinds):
            self._hang(kind)
            self._fill(kind)

    def _kinds(self) -> list[Kind]:
        """The kind of each column: steps that have something in common are of one."""
        kinds: list[Kind] = []
        for column in self.columns:
            standing = [p for p in self.unfolded.places if p.column == column]
            is_step, made = column in self.unfolded.steps, {self.role[p] for p in standing if not p.tensor.is_leaf}
            alike = [kind for kind in kinds if is_step and kind.is_step and kind.made & made]
            kinds.append(kind := alike[0] if alike else Kind(is_step))
            kind.made |= made
            for p in standing:
                kind.places[self.role[p]].append(p)
        return kinds

    def add(self, spot: Spot, layer: tuple | None) -> Spot:
        """Put a spot into a layer."""
        self.layers[layer].append(spot)
        spot.layer = layer
        return spot

    def spot(self, p: Place) -> Spot:
        """The spot in which a place is."""
        kind, role = self.kinds[self.number[p.column]], self.role[p]
        return kind.spots[kind.hangs.get(role, role)]

    def _lead(self, links: Sequence[Link]) -> None:
        """Lead every link through its columns.

        One to the next column runs on the track of its source's role, and one that reaches further from track to track
        of the role. But what one node reads of many columns comes together on one track, as does what many columns
        read of one node; and a loop runs back on a track of its own.
        """
        ends = {link: [self.number[p.column] for p in (link.source, link.target)] for link in links}
        roles = {link: (self.role[link.source], self.role[link.target]) for link in links}
        far: dict[tuple, set[Place]] = defaultdict(set)  # the sources of a role with links beyond the next column
        into: dict[tuple, set[Place]] = defaultdict(set)  # the sources of a role that a target reads
        for link, (i, j) in ends.items():
            into[roles[link][0], link.target, i < j].add(link.source)
            if abs(j - i) > 1:
                far[roles[link], i < j].add(link.source)
        for link, (i, j) in ends.items():
            (source, target), sign = roles[link], (j > i) - (j < i)
            together = len(into[source, link.target, i < j]) > 1 and not self.kinds[j].is_step
            alone, is_loop = far[roles[link], i < j] == {link.source}, link.kind == "loop"
            track = link if is_loop else link.target if together else link.source if alone else None
            keys = [(track, sign) if track else (source, sign, passed) for passed in range(abs(j - i))]
            way = enumerate(pairwise([source, *(self.tracks[key] for key in keys), target]))
            pieces = [(i + sign * k, self.kinds[i + sign * k].lines[(sign, *piece)]) for k, piece in way]
            self.pieces[link], self.labelled[link] = pieces, pieces[0 if together or is_loop else -1]
            _, line = self.labelled[link]
            line.room = max(line.room, link.room)
            for _, line in pieces:
                line.links.append(link)

    def _hang(self, kind: Kind) -> None:
        """Let parameters and data hang from the one variable that uses them, if that has something else to be made of;
        and let variables stand on others: those made of states, and all where many would follow each other."""
        users: dict[Role, list] = defaultdict(list)
        makers: dict[Role, list] = defaultdict(list)
        for _, a, b in kind.lines:
            users[a].append(b)
            makers[b].append(a)
        for role, places in kind.places.items():
            loose = all(p.tensor.is_leaf and p.kind in ("parameter", "input") for p in places)
            if loose and len(users[role]) == 1 and users[role][0] in kind.places:
                kind.hangs[role] = users[role][0]
        for role in kind.places:
            if makers[role] and all(kind.hangs.get(a) == role for a in makers[role]):
                del kind.hangs[min(makers[role], key=lambda a: kind.places[a][0].kind != "input")]
        self._stand(kind, makers)
        if kind.is_step and max(self._layers(kind).values(), default=0) > MANY:
            self._stand(kind, makers, kind.made)

    def _stand(self, kind: Kind, makers: dict[Role, list], bases: Collection[Role] = ()) -> None:
        """Let what is made of one variable stand on it: on a state, on what stands on one, or alone on some others."""
        carried = {key[1] for key in kind.lines if self.is_state(kind, key)}
        carried |= {self.role[loop.source] for loop in self.unfolded.loops}
        for role in kind.places:  # in topological order
            others = [a for a in makers[role] if a not in kind.hangs]
            made_of = [a for a in others if a in kind.places]
            # a state stands on another only where it goes on by itself, not by way of its preactivation
            by_itself = any(self.tracks.get((role, sign, 0)) in others for sign in (1, -1))
            if len(made_of) != 1 or role in self.apart or (role in carried and not by_itself):
                continue
            base, alone = made_of[0], others == made_of
            may = base in carried or base in kind.stands or (alone and base in bases)
            if may and base not in kind.stands.values() and role not in makers[base]:
                kind.stands[role] = base

    def is_state(self, kind: Kind, key: tuple) -> bool:
        """True if a line is that of a state that goes on to the next column."""
        sign, a, b = key
        return self.tracks.get((a, sign, 0)) is b and kind.places[a][0].role in self.unfolded.carried

    def _layers(self, kind: Kind) -> dict[Role, int]:
        """The layer of each variable: beyond those of what it is made of; against time, beyond those that it makes."""
        base = {role: role for role in kind.places if role not in kind.hangs}
        for role, of in kind.stands.items():
            while of in kind.stands:
                of = kind.stands[of]
            base[role] = of
        edges = [(base[a], base[b]) for sign, a, b in kind.lines if sign == 0 and a not in kind.hangs]
        entered = _closure({base[b] for sign, _, b in kind.lines if sign < 0 and b in base}, edges)
        left = _closure({base[a] for sign, a, _ in kind.lines if sign < 0 and a in base}, [(b, a) for a, b in edges])
        back = entered & left
        makers: dict[Role, set[Role]] = defaultdict(set)
        for a, b in edges:
            a, b = (b, a) if a in back and b in back else (a, b)
            makers[b] |= {a} - {b}
        rank: dict[Role, int] = {}
        waiting = list(dict.fromkeys(base.values()))
        while waiting:  # of a circle, which different columns may make, the first
            role = next((role for role in waiting if makers[role] <= rank.keys()), waiting[0])
            waiting.remove(role)
            rank[role] = max([rank[a] + 1 for a in makers[role] & rank.keys()], default=0)
        return {role: 2 * rank[of] + 1 for role, of in base.items()}

    def _fill(self, kind: Kind) -> None:
        """Put spots into the layers of a kind of column, and lines between them."""
        layer = self._layers(kind)
        kind.last = max(layer.values(), default=1) + 2
        for role in layer:
            kind.spots[role] = self.add(self._spot(kind, role), (kind, layer[role]))
        across = [key for key in kind.lines if key[1] not in kind.hangs and kind.stands.get(key[2], key) != key[1]]
        out, into = Counter(a for _, a, _ in across), Counter(b for _, _, b in across)
        for key in across:
            line, (sign, a, b) = kind.lines[key], key
            begin = layer.get(a, -1 if sign > 0 else kind.last)
            end = layer.get(b, kind.last if sign > 0 else -1)
            line.is_turned = end < begin
            left, right = [kind.spots.get(a, a), kind.spots.get(b, b)][:: -1 if line.is_turned else 1]
            goes_on = self.is_state(kind, key) or self.tracks.get((b, sign, 0)) is a
            passes, alone = a not in layer and b not in layer, b in layer and into[b] == 1
            known = [goes_on or passes, alone, b not in layer, a in kind.made, a not in layer, True]
            strength = 6.0 - known.index(True) + 0.5 * (line.room > 0.0)
            between = [self.add(Spot(), (kind, n)) for n in range(min(begin, end) + 1, max(begin, end))]
            line.joints = [Joint(*pair, strength) for pair in pairwise([left, *between, right])]
            if line.room and between:
                at_source = a in layer and (b not in layer or out[a] <= into[b])
                line.label = label = between[0 if at_source == (begin < end) else -1]
                label.up, label.down = LABEL, LINE / 2
                label.boxes = [(-line.room / 2, -LABEL, line.room / 2, 2.0)]

    def _spot(self, kind: Kind, role: Role) -> Spot:
        """The spot of a variable, with what hangs from it: data above, and parameters that meet these; others below.

        All is above where the variable stands on another, and on the left there where another stands on it.
        """
        width, height = kind.size(role)
        is_cut = any(p.tensor.is_leaf and p.tensor.is_cut for p in kind.places[role])
        left = -width / 2 - (CUT + 12.0 if is_cut else 0.0)
        spot = Spot(height / 2, height / 2, (width, height), [(left, -height / 2, width / 2, height / 2)])
        spot.at[role] = 0.0, 0.0
        lines = {a: kind.lines[0, a, role] for a, of in kind.hangs.items() if of == role}
        data = {link.user for a in lines if kind.places[a][0].kind == "input" for link in lines[a].links}
        above = [a for a in lines if role in kind.stands or any(link.user in data for link in lines[a].links)]
        rows = {-1: above, 1: [a for a in lines if a not in above]}
        for sign, row in ((sign, row) for sign, row in rows.items() if row):
            x, at = 0.0, []
            for a in row:
                half, label = kind.size(a)[0] / 2, lines[a].room
                at.append(x + half)
                x += half + max(half, label + 5.0) + BESIDE
            left = -x if sign < 0 and role in kind.stands.values() else -(at[0] + at[-1]) / 2
            near = height / 2 + (FAR if any(lines[a].room for a in row) else NEAR)
            reach = near + max(kind.size(a)[1] for a in row)
            for a, middle in zip(row, at, strict=True):
                spot.at[a] = left + middle, sign * (near + kind.size(a)[1] / 2)
            spot.up, spot.down = (reach, spot.down) if sign < 0 else (spot.up, reach)
            top, bottom = sorted((sign * (height / 2 + 0.3 * (near - height / 2)), sign * reach))
            spot.boxes.append((left, top, left + x - BESIDE, bottom))
        if role in kind.stands:
            label = kind.lines[0, kind.stands[role], role].room
            spot.down += LABEL + 6.0 if label else 10.0
            spot.boxes.append((-2.0, height / 2, label + 6.0, spot.down))
        return spot


def _roles(places: Sequence[Place], links: Sequence[Link]) -> dict[Place, Role]:
    """The role of each place in its column: its variable's, or which input it is of another place."""
    used: dict[Place, tuple[Place, int]] = {}  # the last of what uses it, and the how-manyth input it is of that
    inputs: dict[Place, int] = Counter()
    for link in links:
        inputs[link.target] += 1
        if link.source.column == link.target.column:
            used[link.source] = link.target, inputs[link.target]
    role: dict[Place, Role] = {}
    taken: dict[tuple, int] = Counter()
    for p in reversed(places):
        named = p.kind == "elided" or (p.tensor.name is not None and p.kind != "parameter")
        base = p.role if named or p not in used else (role[used[p][0]], used[p][1])
        role[p] = base, taken[p.column, base]
        taken[p.column, base] += 1
    return role


def _closure(start: Collection[Role], edges: Collection[tuple[Role, Role]]) -> set[Role]:
    """The roles that are reached from some others."""
    reached = list(start)
    for role in reached:  # which grows
        reached += [b for a, b in edges if a == role and b not in reached]
    return set(reached)
