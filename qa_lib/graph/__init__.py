"""A network as traced: the order in which a forward pass reaches its modules, and rewrites of it."""

from qa_lib.graph.folding import fold_batch_norm
from qa_lib.graph.opening import open_functions
from qa_lib.graph.rewriting import with_modules
from qa_lib.graph.stored_outputs import stored_outputs

__all__ = ["fold_batch_norm", "open_functions", "stored_outputs", "with_modules"]
