"""One file per subject: the reference, its common mistakes, and the check."""
