"""Print a tile program as a Triton module: node by node, deciding nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate

from quasim.kernels.index import Arith, Index, Num, Sym, extent_name
from quasim.kernels.lowered import Compare
from quasim.kernels.tiled import (
    PID,
    PROGRAMS,
    Apply,
    Bind,
    Contract,
    ExtentOf,
    Fetch,
    FetchTile,
    Fold,
    For,
    Full,
    Halve,
    Hint,
    If,
    Keep,
    Lanes,
    Let,
    Live,
    Mask,
    Node,
    Parameter,
    Part,
    Place,
    PointerTo,
    Put,
    PutTile,
    Real,
    Reg,
    Runs,
    Shape,
    Splat,
    Tile,
    TileProgram,
    Turn,
    Weave,
)

_HEADER = """import triton
import triton.language as tl


@triton.jit
def larger(left, right):
    return tl.maximum(left, right, propagate_nan=tl.PropagateNan.ALL)


"""

# What only some modules need. An identity that the compiler cannot see through keeps a sum out of the tensor core; a
# power of two beyond 2^127 is no float32, so that a scale is two factors; a number that is added to 1.5·2^23 is rounded
# to a whole one; an integer below 2^23 has, as float32, the exponent of the subnormal number with these bits.
_HELPERS = {
    "apart": """@triton.jit
def apart(x):
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1)


""",
    "exponent": """@triton.jit
def exponent(x):
    bits = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    counted = (bits.to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 276
    small = tl.where(bits == 0, -150, counted)
    return tl.where(bits >= 0x800000, (bits >> 23) - 127, small).to(tl.float32)


""",
    "scale": """@triton.jit
def scale(x, exponent):
    whole = tl.minimum(tl.maximum(exponent, -252.0), 252.0).to(tl.int32)
    half = whole >> 1
    first = ((half + 127) << 23).to(tl.float32, bitcast=True)
    return x * first * ((whole - half + 127) << 23).to(tl.float32, bitcast=True)


""",
    "nearest": """@triton.jit
def nearest(x):
    return (x + 12582912.0) - 12582912.0


""",
    "below": """@triton.jit
def below(x, y):
    return tl.where(x < y, 1.0, 0.0)


""",
}

_STEP = "    "
_INFIX = {"add": "+", "sub": "-", "mul": "*"}
# Division and root are rounded as IEEE 754 says; Triton's own operators are approximations.
_CALLS = {
    "div": "tl.div_rn",
    "exp": "tl.exp",
    "sqrt": "tl.sqrt_rn",
    "max": "larger",
    "round": "nearest",
    "promote": "apart",
    "exponent": "exponent",
    "scale": "scale",
    "below": "below",
}
_FORMATS_OF_8_BITS = {"float8_e4m3fn": "float8e4nv", "float8_e5m2": "float8e5"}
_PRECISIONS = {"float32": "ieee", "tf32": "tf32", "tf32x3": "tf32x3", "bf16x6": "bf16x6"}


def emit(program: TileProgram) -> str:
    """The module's text; its entry is the function named as the kernel."""
    parameters = ", ".join(parameter_name(p) for p in program.parameters)
    wide = ".to(tl.int64)" if program.index_bits == 64 else ""
    first = [f"{PID} = tl.program_id(0){wide}"]
    if program.grid.per_multiprocessor is not None:
        first.append(f"{PROGRAMS} = tl.num_programs(0){wide}")
    lines = [*_leave(program.runs), *first, *_body(program.body, wide)]
    text = "".join(f"{_STEP}{line}\n" for line in lines)
    helpers = "".join(helper for name, helper in _HELPERS.items() if f"{name}(" in text)
    return f"{_HEADER}{helpers}@triton.jit\ndef {program.kernel.name}({parameters}):\n{text}"


def _leave(runs: Runs | None) -> Iterator[str]:
    """A block that is not wanted ends at once."""
    if runs is not None:
        yield f"if tl.load({runs.flag.name}_ptr) {'==' if runs.raised else '!='} 0.0:"
        yield f"{_STEP}return"


def parameter_name(parameter: Parameter) -> str:
    """How the module calls a parameter."""
    if isinstance(parameter, ExtentOf):
        return extent_name(parameter.dim)
    return f"{parameter.tensor.name}_{'ptr' if isinstance(parameter, PointerTo) else 'desc'}"


def _body(body: tuple[Node, ...], wide: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, For):
            yield _loop_head(node)
            yield from _indented(node.body, wide)
        elif isinstance(node, If):
            yield f"if {' & '.join(map(_compare, node.conditions))}:"
            yield from _indented(node.then, wide)
            yield "else:"
            yield from _indented(node.otherwise, wide)
        else:
            yield from [_statement(node, wide)] if not isinstance(node, Part) else _part(node)


def _indented(body: tuple[Node, ...], wide: str) -> Iterator[str]:
    return (f"{_STEP}{line}" for line in _body(body, wide))


def _loop_head(loop: For) -> str:
    options = ""
    if loop.stages is not None:
        options += f", num_stages={loop.stages}"
    if loop.flatten:
        options += ", flatten=True"
    return f"for {loop.name} in tl.range({_index(loop.low)}, {_index(loop.high)}, {_index(loop.step)}{options}):"


def _statement(node: Let | Place | Mask | Bind | Halve | Put | PutTile, wide: str) -> str:
    if isinstance(node, Let):
        return f"{node.name} = {_index(node.value)}"
    if isinstance(node, Place):
        return f"{node.name} = {_positions(node.lanes, node.start, wide)}"
    if isinstance(node, Mask):
        return f"{node.live.name} = {' & '.join(map(_compare, node.conditions))}"
    if isinstance(node, Bind):
        return f"{node.reg.name} = {_tile(node.value)}"
    if isinstance(node, Halve):
        rows, cols = node.sizes
        halves = f"tl.permute(tl.reshape({node.value.name}, ({rows}, 2, {cols // 2})), (0, 2, 1))"
        return f"{node.left.name}, {node.right.name} = tl.split({halves})"
    if isinstance(node, Put):
        value = _spread(_tile(node.value), node.value.shape, node.shape)
        return f"tl.store({_address(node)}, {value}{_guard(node.live, node.shape)}{_hint(node.hint)})"
    return f"{node.tensor.name}_desc.store([{_indices(node.start)}], {_boxed(_tile(node.value), node.lanes)})"


def _positions(lanes: Lanes, start: Index, wide: str) -> str:
    if lanes.size == 1:
        return _index(start)
    places = f"tl.arange(0, {lanes.size}){wide}"
    return places if start == Num(0) else f"{_index(start)} + {places}"


def _part(node: Part) -> Iterator[str]:
    rest = tuple(i for i in range(len(node.box)) if i not in node.bits)
    whole = _permute(f"tl.reshape({_tile(node.value)}, {_box(node.box)})", (*rest, *node.bits))
    yield from _split([reg.name for reg in node.regs], whole)


def _split(names: list[str], whole: str) -> Iterator[str]:
    """Take the last bit first: it is the last dimension, and alternates fastest among the names."""
    if len(names) == 2:
        yield f"{names[0]}, {names[1]} = tl.split({whole})"
        return
    halves = [f"{names[0]}_of", f"{names[1]}_of"]
    yield f"{halves[0]}, {halves[1]} = tl.split({whole})"
    for bit, half in enumerate(halves):
        yield from _split(names[bit::2], half)


def _joined(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"tl.join({_joined(parts[0::2])}, {_joined(parts[1::2])})"


def _weave(tile: Weave) -> str:
    rest = [i for i in range(len(tile.box)) if i not in tile.bits]
    came_from = [*rest, *tile.bits]
    order = tuple(came_from.index(i) for i in range(len(tile.box)))
    joined = _permute(_joined([_tile(part) for part in tile.parts]), order)
    return f"tl.reshape({joined}, {_box((math.prod(tile.box),))})"


def _permute(text: str, order: tuple[int, ...]) -> str:
    return text if order == tuple(range(len(order))) else f"tl.permute({text}, {_box(order)})"


def _index(index: Index) -> str:
    if isinstance(index, Num):
        return str(index.value)
    if isinstance(index, Sym):
        return index.name
    if isinstance(index, Arith):
        left, right = _index(index.left), _index(index.right)
        if index.op in ("min", "max"):
            return f"tl.{index.op}imum({left}, {right})"
        return f"({left} {'//' if index.op == '/' else index.op} {right})"
    raise TypeError(f"{index} has no form in Triton")


def _indices(indices: tuple[Index, ...]) -> str:
    return ", ".join(map(_index, indices))


def _compare(compare: Compare) -> str:
    return f"({_index(compare.left)} {compare.op} {_index(compare.right)})"


def _spread(text: str, have: Shape, want: Shape) -> str:
    """The tile with a dimension for each lane of ``want``."""
    if have == want or not have:
        return text
    inner = text if text.isidentifier() or _enclosed(text) else f"({text})"
    return f"{inner}[{', '.join(':' if name in have else 'None' for name in want)}]"


def _enclosed(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    if not text.startswith("("):
        return False
    depths = list(accumulate((char == "(") - (char == ")") for char in text))
    return depths[-1] == 0 and 0 not in depths[:-1]


def _address(access: Fetch | Put) -> str:
    # What is the same in all lanes is added first, so that it stays one scalar addition.
    terms = sorted(access.offset, key=lambda term: term.lane is not None)
    parts = [_spread(_index(t.index * t.stride), (t.lane,) if t.lane else (), access.shape) for t in terms]
    return " + ".join([f"{access.tensor.name}_ptr", *(part for part in parts if part != "0")])


def _guard(live: tuple[Live, ...], shape: Shape) -> str:
    masks = [_spread(mask.name, (mask.lane,) if mask.lane else (), shape) for mask in live]
    return f", mask={' & '.join(masks)}" if masks else ""


def _hint(hint: Hint) -> str:
    return f', eviction_policy="{hint}"' if hint else ""


def _boxed(text: str, lanes: tuple[Lanes, ...]) -> str:
    """A tile as a box with all dimensions of the descriptor, those of one lane too."""
    if all(lane.size > 1 for lane in lanes):
        return text
    return f"tl.reshape({text}, {_box(lane.size for lane in lanes)})"


def _tile(tile: Tile) -> str:
    if isinstance(tile, Splat):
        return _number(tile.value)
    if isinstance(tile, Real):
        return f"{tile.value.value}.0" if isinstance(tile.value, Num) else f"({_index(tile.value)}).to(tl.float32)"
    if isinstance(tile, Full):
        return f"tl.full({_box(lane.size for lane in tile.lanes if lane.size > 1)}, {_filling(tile)}, {_dtype(tile)})"
    if isinstance(tile, Reg):
        return tile.name
    if isinstance(tile, Fetch):
        other = ", other=0.0" if tile.live else ""
        return f"tl.load({_address(tile)}{_guard(tile.live, tile.shape)}{other}{_hint(tile.hint)})"
    if isinstance(tile, FetchTile):
        return _fetch_tile(tile)
    return _operation(tile)


def _fetch_tile(tile: FetchTile) -> str:
    text = f"{tile.tensor.name}_desc.load([{_indices(tile.start)}])"
    kept = [lane.size for lane in tile.lanes if lane.size > 1]
    return text if len(kept) == len(tile.lanes) else f"tl.reshape({text}, {_box(kept)})"


def _operation(tile: Turn | Apply | Keep | Fold | Contract | Weave) -> str:
    if isinstance(tile, Turn):
        return f"tl.trans({_tile(tile.value)})"
    if isinstance(tile, Apply):
        return _apply(tile)
    if isinstance(tile, Keep):
        live = _spread(tile.live.name, (tile.live.lane,) if tile.live.lane else (), tile.shape)
        return f"tl.where({live}, {_tile(tile.value)}, {_number(tile.fill)})"
    if isinstance(tile, Fold):
        value, axis = _tile(tile.value), tile.value.shape.index(tile.over)
        return f"tl.sum({value}, axis={axis})" if tile.op == "sum" else f"tl.reduce({value}, {axis}, larger)"
    if isinstance(tile, Contract):
        return _contract(tile)
    return _weave(tile)


def _contract(tile: Contract) -> str:
    options = ""
    if tile.a.dtype == "float32":
        options = f', input_precision="{_PRECISIONS[tile.precision]}"'
    elif tile.dtype != "float32":
        options = f", out_dtype={_dtype(tile)}"
    return f"tl.dot({_tile(tile.a)}, {_tile(tile.b)}, {tile.acc.name}{options})"


def _apply(tile: Apply) -> str:
    args = [_argument(arg, tile) for arg in tile.args]
    if tile.op == "cast":
        return args[0]
    if tile.op == "neg":
        return f"(-{args[0]})"
    if tile.op in _INFIX:
        return f"({args[0]} {_INFIX[tile.op]} {args[1]})"
    return f"{_CALLS[tile.op]}({', '.join(args)})"


def _argument(arg: Tile, tile: Apply) -> str:
    text = _spread(_tile(arg), arg.shape, tile.shape)
    return text if arg.dtype == tile.dtype or isinstance(arg, Splat | Real) else f"({text}).to({_dtype(tile)})"


def _filling(tile: Full) -> str:
    return str(int(tile.value)) if tile.dtype in ("int8", "int32") else _number(tile.value)


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else f'float("{value}")'


def _box(sizes: Iterable[int]) -> str:
    listed = tuple(sizes)
    return f"({listed[0]},)" if len(listed) == 1 else f"({', '.join(map(str, listed))})"


def _dtype(tile: Tile) -> str:
    return f"tl.{_FORMATS_OF_8_BITS.get(tile.dtype, tile.dtype)}"
