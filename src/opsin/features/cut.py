"""A backbone in two at the input of one of its layers: what stays as it is, and what learns."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from opsin.core.errors import WrongUsage
from opsin.core.registry import near, unknown
from opsin.features.ask import frozen

MOST_PARENTS = 100
"""Modules looked into when the allowed names are listed."""


@dataclass(frozen=True)
class Cut:
    """`tail(front(x))` is `backbone(x)`; both call the modules of `backbone` itself, so nothing is
    copied. `front` holds what lies before the layer.
    """

    front: fx.GraphModule
    tail: fx.GraphModule

    @property
    def front_computes(self) -> bool:
        """Whether anything lies before the layer."""
        return any(node.op not in ("placeholder", "output") for node in self.front.graph.nodes)


class NotCut(Exception):
    """Why a graph has no place to cut it at a layer."""


def cut(backbone: nn.Module, layer: str) -> Cut | None:
    """`backbone` cut at the input of its module `layer`; None where its forward cannot be traced
    (by torch.fx), or is another one in training.

    Only what stands around the layer is traced; every other module is called as it is. Raises
    `WrongUsage` for a name that is no module, and where something before the layer, other than its
    input, is used after it; the names that can be given are listed.

    >>> parts = cut(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), "2")
    >>> parts.front(torch.zeros(4, 2)).shape, parts.tail(torch.zeros(4, 3)).shape
    (torch.Size([4, 3]), torch.Size([4, 1]))
    """
    layer = layer.removeprefix("backbone.")
    if layer not in dict(backbone.named_modules()) or not layer:
        fault = unknown("layer", layer, allowed(backbone))
        fault.where = "unfreeze"
        raise fault
    graph = traced(backbone, layer.rpartition(".")[0])
    if graph is None:
        return None
    try:
        parts = _parts(backbone, graph, layer)
        if not any(True for _ in parts.tail.parameters()):
            raise NotCut("no layer from there on has weights")
        return parts
    except NotCut as error:
        names = allowed(backbone)
        nearest = near(layer, names) or names
        shown = names if len(names) <= 20 else nearest
        raise WrongUsage(
            f"nothing can begin at {layer}: {error}. Allowed: {', '.join(shown) or 'no layer'}",
            code="no_cut",
            where="unfreeze",
            fix=f"--unfreeze {nearest[0]}" if nearest else "leave --unfreeze out",
        ) from None


def allowed(backbone: nn.Module) -> list[str]:
    """The names that `cut` takes, in the order of the model."""
    found = []
    parents = [name for name, module in backbone.named_modules() if list(module.children())]
    for parent in parents[:MOST_PARENTS]:
        graph = traced(backbone, parent)
        if graph is None:
            continue
        for child, _ in backbone.get_submodule(parent).named_children():
            name = f"{parent}.{child}" if parent else child
            try:
                if _parts(backbone, graph, name).front_computes:
                    found.append(name)
            except NotCut:
                continue
    order = {name: number for number, (name, _) in enumerate(backbone.named_modules())}
    return sorted(found, key=lambda name: order[name])


def traced(backbone: nn.Module, parent: str) -> fx.Graph | None:
    """The calls of `backbone`, opened down to the children of `parent`; None where there is no one
    graph for training and evaluation.
    """
    words = parent.split(".") if parent else []
    opened = {".".join(words[:count]) for count in range(1, len(words) + 1)}

    class Opening(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return module_qualified_name not in opened

    containers = [backbone, *(backbone.get_submodule(name) for name in opened)]
    graphs = []
    for training in (True, False):
        with _mode(containers, training):
            try:
                graphs.append(Opening().trace(backbone, _defaults(backbone)))
            except Exception:  # whatever a forward of somebody's does with a tensor that is none
                return None
    return graphs[0] if str(graphs[0]) == str(graphs[1]) else None


def outputs_bytes(front: nn.Module, size_px: tuple[int, int], channels: int = 3) -> int:
    """Bytes of what `front` gives for one picture of `size_px`, as float32."""
    device = next((p.device for p in front.parameters()), torch.device("cpu"))
    with frozen(front, device, channels_last=False):
        found = front(torch.zeros(1, channels, *size_px, device=device))
    return int(found.numel()) * 4


def before(backbone: nn.Module, layer: str) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """For a backbone that cannot be traced: the innermost modules made before `layer`, and the
    parameters of `backbone` that are not theirs.
    """
    layer = layer.removeprefix("backbone.")
    chosen: list[nn.Module] = []
    for name, module in backbone.named_modules():
        if name == layer:
            break
        if not list(module.children()):
            chosen.append(module)
    kept = {id(p) for module in chosen for p in module.parameters()}
    return chosen, [p for p in backbone.parameters() if id(p) not in kept]


def _parts(backbone: nn.Module, graph: fx.Graph, layer: str) -> Cut:
    calls = [n for n in graph.nodes if n.op == "call_module" and n.target == layer]
    if len(calls) != 1:
        raise NotCut(f"it is called {len(calls)} times")
    call = calls[0]
    if len(call.all_input_nodes) != 1 or call.args[:1] != tuple(call.all_input_nodes):
        raise NotCut("it is not called with one tensor alone")
    source = call.all_input_nodes[0]
    first = _needed(source)
    last = _needed(graph.output_node(), stop=source)
    if (first & last) - {source}:
        raise NotCut("something before it is used after it, too")
    front, tail = fx.Graph(), fx.Graph()
    there: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node in first:
            there[node] = front.node_copy(node, lambda old: there[old])
    front.output(there[source])
    there = {source: tail.placeholder("activations")}
    for node in graph.nodes:
        if node in last and node is not source:
            there[node] = tail.node_copy(node, lambda old: there[old])
    made = Cut(fx.GraphModule(backbone, front), fx.GraphModule(backbone, tail))
    if {*map(id, made.front.parameters())} & {*map(id, made.tail.parameters())}:
        raise NotCut("weights before it are used after it, too")
    return made


def _defaults(module: nn.Module) -> dict[str, Any]:
    """What `forward` takes beside its first argument: nobody gives a backbone anything else."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _needed(node: fx.Node, stop: fx.Node | None = None) -> set[fx.Node]:
    """`node` and everything that it is computed from, not going beyond `stop`."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += [] if each is stop else each.all_input_nodes
    return found


@contextmanager
def _mode(modules: list[nn.Module], training: bool) -> Iterator[None]:
    before = [module.training for module in modules]
    for module in modules:
        module.training = training
    try:
        yield
    finally:
        for module, mode in zip(modules, before, strict=True):
            module.training = mode
