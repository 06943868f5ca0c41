"""A seq2seq adapter that writes short texts from long ones, and its scores."""
