"""How far an answer can be trusted: what is fitted, measured and certified about the whole graph."""
