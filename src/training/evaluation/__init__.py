"""How good a model is: figures, intervals, slices, pictures, and several models beside each other."""
