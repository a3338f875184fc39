"""Events: how they are read, in which version's shape, and how they reach webhook endpoints."""
