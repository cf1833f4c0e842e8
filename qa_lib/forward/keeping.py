"""Which values of a forward pass to keep, so that changing one quantizer is cheap."""

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
    kept: set[fx.Node] = set()
    while starts:
        best, best_worth = None, 0.0
        for name, start in starts.items():
            size = sum(graph.facts[node].size for node in start - kept)
            if size <= budget:
                saved = graph.seconds(graph.needed(start, kept | {graph.images}))
                worth = saved / max(size, 1)
                if worth > best_worth:
                    best, best_worth = name, worth
        if best is None:
            break
        budget -= sum(graph.facts[node].size for node in starts[best] - kept)
        kept |= starts.pop(best)
    return kept
