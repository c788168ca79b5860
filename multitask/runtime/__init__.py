"""Runtime of training and trained runs: device, precision, processes, callbacks, messages, trackers."""
