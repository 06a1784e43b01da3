"""A job and how it is carried out: what `train`, `resume`, `find` and the dry run share."""
