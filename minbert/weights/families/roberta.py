"""RoBERTa (Liu et al. 2019), XLM-RoBERTa (Conneau et al. 2020) and CamemBERT (Martin et al. 2020)."""

from dataclasses import replace

from minbert.weights.families.bert import BERT

ROBERTA = replace(
    BERT,
    name="RoBERTa",
    model_type="roberta",
    classes="Roberta",
    prefix="roberta",
    defaults={"vocab_size": 50265, "pad_token_id": 1},
    counts_positions=True,
    masked_lm_activation="gelu",
    sequence_head=("classifier.dense", "classifier.out_proj"),
)
XLM_ROBERTA = replace(
    ROBERTA,
    name="XLM-RoBERTa",
    model_type="xlm-roberta",
    classes="XLMRoberta",
    defaults={"pad_token_id": 1},
)
CAMEMBERT = replace(XLM_ROBERTA, name="CamemBERT", model_type="camembert", classes="Camembert")
