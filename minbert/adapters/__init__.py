"""Adapters, added to an encoder: LoRA, DoRA, projected attention, layers per head; peft's folders."""
