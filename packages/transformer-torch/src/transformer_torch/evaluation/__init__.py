"""Translation quality."""
