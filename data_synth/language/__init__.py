"""Instructions and captions: grammar, templates, and rewriting."""
