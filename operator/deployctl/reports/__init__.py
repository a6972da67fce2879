"""Results -> terminal, markdown, HTML with plots."""
