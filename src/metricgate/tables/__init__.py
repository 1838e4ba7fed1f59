"""Tables on disk, read column by column: one module per format, and the engine that scans them."""
