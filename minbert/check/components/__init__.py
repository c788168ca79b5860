"""The parts beside the model: what is run and compared of an optimizer, LoRA, pooling, a tokenizer."""
