"""What training and a trained run share: device, precision, processes, callbacks, messages, trackers."""
