"""What several papers need and none is about: data sets by name, figures, and a timer for two sides in turn."""
