"""A network as traced: the order in which a forward pass reaches its modules."""
