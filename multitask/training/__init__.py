"""Training: the one loop, its plan of batches, the Trainer; parameters/ and methods/ are its options."""
