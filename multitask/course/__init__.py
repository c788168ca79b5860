"""The course's own interfaces on top of this package: its programs, its checkpoints, its model class."""
