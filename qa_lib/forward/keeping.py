"""Which values of a forward pass to keep, so that changing one quantizer is cheap."""

import heapq

from torch import fx

from qa_lib.forward.layer_graph import LayerGraph


def what_to_keep(graph: LayerGraph, budget: int) -> set[fx.Node]:
    """The nodes whose values to keep, for one batch, so that changing one quantizer is cheap.

    For each quantizer there are the values that what depends on it starts from. Those are taken first that
    save the most time for their size, given what is kept already.

    Args:
        graph: The model, with times and sizes.
        budget: Bytes for the batch that the graph has learned from.
    """
    starts: dict[str, set[fx.Node]] = {}
    for name in graph.quantizer_nodes:
        dirty = graph.downstream([name])
        inputs = {argument for node in dirty for argument in node.all_input_nodes}
        starts[name] = {n for n in inputs - dirty if n is not graph.images and graph.facts[n].size}
    every = set[fx.Node]().union(*starts.values())
    if sum(graph.facts[node].size for node in every) <= budget:
        return every
    kept: set[fx.Node] = set()

    def worth(name: str) -> float:
        """Seconds saved for each byte, with what is kept by now."""
        start = starts[name]
        saved = graph.seconds(graph.needed(start, kept | {graph.images}))
        return saved / max(sum(graph.facts[node].size for node in start - kept), 1)

    # What something is worth hardly ever rises as more is kept, so that only the best by then is looked at again.
    waiting = [(-worth(name), name) for name in starts]
    heapq.heapify(waiting)
    while waiting:
        _, name = heapq.heappop(waiting)
        if waiting and -(now := -worth(name)) < -waiting[0][0]:
            heapq.heappush(waiting, (now, name))
            continue
        size = sum(graph.facts[node].size for node in starts[name] - kept)
        if size <= budget:
            budget -= size
            kept |= starts[name]
    return kept
