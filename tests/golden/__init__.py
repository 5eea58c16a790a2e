"""What must not change unnoticed: identities of artifacts, the pages in them, results of the science.

`identities.json`  identity of every stage's target, for experiments of each kind
`pages/`           the pages and tables of a tiny report, comparison and model, byte for byte
`science.json`     small results of everything that a REVISION guards, with that revision

After an intended change: raise the revision that the failing test names, then `python -m tests.golden`.
"""
