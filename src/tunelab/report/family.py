"""A family tree as a picture and a page: root base models on top, the model in the middle, what was made from it below, by relation.

Our own layered layout, drawn as inline SVG without scripts; relations differ by the dashes of their lines and are written in the boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tunelab.hub.tree import RELATIONS, Branch, FamilyTree, Relative
from tunelab.report.charts import short_count, svg_element, svg_safe, svg_text
from tunelab.report.numbers import count
from tunelab.report.sheets import KINDS, hub_link
from tunelab.report.text import visible

PLURALS: Mapping[str, str] = {"finetune": "fine-tunes", "adapter": "adapters", "merge": "merges", "quantized": "quantised copies", "": "models"}
"""Relations of several models, in words."""
STATES: Mapping[str, str] = {"missing": "not found", "local": "not on the Hub", "cycle": "a circle", "not looked up": "not looked up"}
"""What the box of a relative that was not read says."""
_TALL, _CHILD, _ROW, _LAYER = 62, 46, 14, 46
"""Pixels: a box, a child's box, between rows of one layer, between layers."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A box at (x, y), its left upper corner."""

    x: float
    y: float
    width: float
    tall: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def render_tree_html(tree: FamilyTree) -> str:
    """The tree as one page that loads nothing: the picture, every step with where it is said, children by relation."""
    from markupsafe import Markup

    from tunelab.report.html import page

    return page("tree.html.j2", {"tree": tree, "wide": Markup(drawing(tree, 940)), "narrow": Markup(drawing(tree, 340)), "steps": list(tree.steps()),
                                 "hub_link": hub_link, "kinds": KINDS, "relations": RELATIONS, "plurals": PLURALS, "states": STATES})


def drawing(tree: FamilyTree, width: int = 940) -> str:
    """The picture as one `<svg>` of that width in CSS pixels. Names from outside are text in it."""
    wide = 214 if width >= 600 else 162
    gap = 22 if width >= 600 else 14
    people = {_key(child, one): one for child, one in tree.steps() if one.state != "again"}
    edges = [(_key(child, one), child.casefold(), one) for child, one in tree.steps()]
    boxes: dict[str, _Box] = {}
    y = 4.0
    for row, last in _rows(_layers(tree.name.casefold(), edges), (width + gap) // (wide + gap)):
        left = (width - len(row) * wide - (len(row) - 1) * gap) / 2
        boxes.update({key: _Box(left + place * (wide + gap), y, wide, _TALL) for place, key in enumerate(row)})
        y += _TALL + (_LAYER if last else _ROW)
    own = _Box((width - wide - 40) / 2, y, wide + 40, _TALL)
    boxes[tree.name.casefold()] = own
    parts = [_curve(boxes[above], boxes[below], one.relation) for above, below, one in edges if above in boxes and below in boxes]
    columns, height = _columns(tree.children, own, width, wide, gap)
    parts += columns
    parts += [_person(boxes[key], one) for key, one in people.items() if key in boxes]
    kind = KINDS.get(tree.kind, tree.kind) or "kind not stated"
    parts.append(_drawn(own, "self", tree.name, _with_downloads(kind, tree.downloads)))
    said = f"Family tree of {tree.name}: {len(people)} models above it, {sum(one.count or 0 for one in tree.children):,} made from it"
    return svg_element(width, height, "family", said, parts)


def _key(child: str, one: Relative) -> str:
    """What a box is known by: a model has one, but each circle is closed by a box of its own."""
    return f"{one.name.casefold()} above {child.casefold()}" if one.state == "cycle" else one.name.casefold()


def _layers(own: str, edges: Sequence[tuple[str, str, Relative]]) -> list[list[str]]:
    """Keys by their longest way from the model, the farthest layer first. The edges make no circle."""
    depth = {own: 0}
    for _ in range(len(edges)):
        before = dict(depth)
        for above, below, _one in edges:
            depth[above] = max(depth.get(above, 0), depth.get(below, 0) + 1)
        if before == depth:
            break
    return [[key for key, at in depth.items() if at == level] for level in range(max(depth.values()), 0, -1)]


def _rows(layers: Sequence[Sequence[str]], most: int) -> Iterator[tuple[Sequence[str], bool]]:
    """(keys of a row, whether its layer ends with it), rows as even as can be."""
    for layer in layers:
        rows = -(-len(layer) // max(1, most))
        size = -(-len(layer) // rows)
        for start in range(0, len(layer), size):
            yield layer[start : start + size], start + size >= len(layer)


def _columns(branches: Sequence[Branch], own: _Box, width: int, wide: int, gap: int) -> tuple[list[str], float]:
    """The children, a column for each relation; and the height of the picture."""
    curves: list[str] = []
    out: list[str] = []
    y = own.y + own.tall + (_LAYER if branches else 0)
    most = max(1, (width + gap) // (wide + gap))
    for start in range(0, len(branches), most):
        row = branches[start : start + most]
        left = (width - len(row) * wide - (len(row) - 1) * gap) / 2
        lowest = y
        for place, branch in enumerate(row):
            x, at = left + place * (wide + gap), y + 26
            head = _Box(x, y, wide, 22)
            curves.append(_curve(own, head, branch.relation))
            words = f"{count(branch.count) if branch.count is not None else ''} {PLURALS.get(branch.relation, branch.relation)}"
            out.append(f'<g class="box head"><rect x="{x:.1f}" y="{y:.1f}" width="{wide}" height="22"/>'
                       f'{svg_text(head.middle, y + 16, words.strip(), "title", "middle")}</g>')
            for child in branch.models:
                out.append(_drawn(_Box(x, at, wide, _CHILD), "child", child.name, _with_downloads("", child.downloads), short=True))
                at += _CHILD + 6
            if branch.more and branch.models:
                out.append(f'<g class="box">{svg_text(head.middle, at + 12, f"and {count(branch.more)} more", "more", "middle")}</g>')
                at += 18
            lowest = max(lowest, at)
        y = lowest + _ROW
    return [*curves, *out], y + 4


def _person(box: _Box, one: Relative) -> str:
    state = STATES.get(one.state, "")
    kind = "gone" if state else "root" if one.is_root else "parent"
    made = next((RELATIONS.get(parent.relation, "") for parent in one.parents), "")
    words = state or ", ".join(word for word in ("root" if one.is_root else made, "gated" if one.state == "gated" else "") if word)
    return _drawn(box, kind, one.name, _with_downloads(words, one.downloads), hint=one.note)


def _drawn(box: _Box, kind: str, name: str, words: str, *, short: bool = False, hint: str = "") -> str:
    """A box with the owner small, the name, and what there is to say of it."""
    owner, _, title = name.rpartition("/") if kind != "gone" or name.count("/") == 1 else ("", "", name)
    room = int((box.width - 20) / 8.7)  # pixels of a bold letter, on average
    words = words if box.width >= 200 else words.replace(" downloads", " ↓")
    x, beside = box.x + 10, len(words) if short else 0
    lines = [svg_text(x, box.y + 17, _shortened(owner, max(4, room + 4 - beside)), "org"), svg_text(x, box.y + 35, _shortened(title, room), "title"),
             svg_text(box.x + box.width - 10, box.y + 17, words, "more", "end") if short else svg_text(x, box.y + 53, words, "more")]
    about = f"{name}: {words}{'; ' if words and hint else ''}{hint}" if words or hint else name
    return (f'<g class="box {kind}"><title>{svg_safe(about)}</title><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.0f}" '
            f'height="{box.tall:.0f}"/>{"".join(lines)}</g>')


def _curve(above: _Box, below: _Box, relation: str) -> str:
    """A line from the lower edge of one box to the upper edge of another."""
    x0, y0, x1, y1 = above.middle, above.y + above.tall, below.middle, below.y
    half = (y1 - y0) / 2
    kind = relation if relation in RELATIONS else "finetune"
    return f'<path class="made {kind}" d="M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + half:.1f} {x1:.1f} {y1 - half:.1f} {x1:.1f} {y1:.1f}"/>'


def _with_downloads(words: str, downloads: int | None) -> str:
    said = f"{short_count(downloads)} downloads" if downloads is not None else ""
    return f"{words}, {said}" if words and said else words or said


def _shortened(name: str, room: int) -> str:
    """A name that fits, cut in its middle: what tells two models apart stands at the end as often as at the beginning."""
    name = visible(name)
    return name if len(name) <= room else f"{name[: room - room // 2 - 1]}…{name[-(room // 2):]}"
