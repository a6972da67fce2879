"""Results -> terminal, markdown, HTML with plots. Makes documents; prints nothing."""
