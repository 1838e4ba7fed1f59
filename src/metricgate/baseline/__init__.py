"""Where runs are recorded, and which of them is the baseline. Knows stores, not GitHub: places for files come as arguments.

``store.RunStore`` keeps runs in any ``files.Files``: a folder, or whatever else offers the same few operations.
"""
