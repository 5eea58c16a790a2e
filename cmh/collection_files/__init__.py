"""The files of a collection: what is in the folder, and how it changes in one step."""
