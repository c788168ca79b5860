"""The part "model": a BERT, stage by stage."""
