"""Numbers in, numbers out: the inference behind the gate. No files, no configuration, no GitHub."""
