"""The reference-output kit: any BERT, optimizer, LoRA or pooling compared with references, stage by stage."""
