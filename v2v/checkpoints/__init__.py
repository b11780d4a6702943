"""Files and parameter trees: published layouts, our own, LoRA files and adapters."""
