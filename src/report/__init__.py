"""One self-contained HTML page about a classifier: what it does on labelled texts, and what it decided."""
