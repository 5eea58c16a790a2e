"""One dataset format per file: `read(root, entry)` yields `Record`s."""
