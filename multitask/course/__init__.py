"""The course: the starter's programs and classes on our training, its checkpoints, the submission."""
