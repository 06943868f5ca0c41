"""Data files: the emoji lexicon, emoticons, and the words of emoji names."""
