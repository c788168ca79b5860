"""A multitask_classifier.py in the starter's style: every task in turn, the best model saved."""

import argparse
import random
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from bert import BertModel
from datasets import PairDataset, SentenceDataset, read_rows
from optimizer import AdamW
from torch import nn
from torch.utils.data import DataLoader

HIDDEN_SIZE = 24
CLASSES = 5


class MultitaskBERT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.bert = BertModel.from_pretrained("bert-base-uncased")
        for parameter in self.bert.parameters():
            if config.option == "pretrain":
                parameter.requires_grad = False
            elif config.option == "finetune":
                parameter.requires_grad = True
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.sentiment = nn.Linear(HIDDEN_SIZE, CLASSES)
        self.paraphrase = nn.Linear(2 * HIDDEN_SIZE, 1)
        self.similarity = nn.Linear(2 * HIDDEN_SIZE, 1)

    def forward(self, input_ids, attention_mask):
        return self.bert(input_ids, attention_mask)["pooler_output"]

    def predict_sentiment(self, input_ids, attention_mask):
        return self.sentiment(self.dropout(self.forward(input_ids, attention_mask)))

    def pair(self, head, input_ids_1, attention_mask_1, input_ids_2, attention_mask_2):
        first = self.forward(input_ids_1, attention_mask_1)
        second = self.forward(input_ids_2, attention_mask_2)
        return head(torch.cat((first, second), dim=1)).squeeze(-1)

    def predict_paraphrase(self, *inputs):
        return self.pair(self.paraphrase, *inputs)

    def predict_similarity(self, *inputs):
        return self.pair(self.similarity, *inputs)


def save_model(model, optimizer, args, config, filepath):
    save_info = {
        "model": model.state_dict(),
        "optim": optimizer.state_dict(),
        "args": args,
        "model_config": config,
        "system_rng": random.getstate(),
        "numpy_rng": np.random.get_state(),
        "torch_rng": torch.random.get_rng_state(),
    }
    torch.save(save_info, filepath)


def make_loader(data, args, shuffle):
    return DataLoader(data, shuffle=shuffle, batch_size=args.batch_size, collate_fn=data.collate_fn)


def sentences(batch, device):
    return batch["token_ids"].to(device), batch["attention_mask"].to(device)


def pairs(batch, device):
    names = ("token_ids_1", "attention_mask_1", "token_ids_2", "attention_mask_2")
    return [batch[name].to(device) for name in names]


@torch.no_grad()
def accuracy(loader, model, device):
    model.eval()
    right = []
    for batch in loader:
        predicted = model.predict_sentiment(*sentences(batch, device)).argmax(dim=1)
        right += (predicted.cpu() == batch["labels"]).tolist()
    return sum(right) / len(right)


def train_multitask(args):
    device = torch.device("cuda") if args.use_gpu else torch.device("cpu")
    sst = SentenceDataset(read_rows(args.sst_train, "id", "sentence", "sentiment"), args)
    dev = SentenceDataset(read_rows(args.sst_dev, "id", "sentence", "sentiment"), args)
    para = PairDataset(read_rows(args.para_train, "id", "sentence1", "sentence2", "is_duplicate"), args)
    sts = PairDataset(read_rows(args.sts_train, "id", "sentence1", "sentence2", "similarity"), args)
    config = SimpleNamespace(
        hidden_dropout_prob=args.hidden_dropout_prob,
        num_labels=CLASSES,
        hidden_size=HIDDEN_SIZE,
        data_dir=".",
        option=args.option,
    )
    model = MultitaskBERT(config).to(device)
    optimizer = AdamW(model.parameters(), lr=args.lr)
    best = -1.0
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for data in (sst, para, sts):
            for batch in make_loader(data, args, shuffle=True):
                labels = batch["labels"].to(device)
                optimizer.zero_grad()
                if data is sst:
                    loss = F.cross_entropy(model.predict_sentiment(*sentences(batch, device)), labels)
                elif data is para:
                    logits = model.predict_paraphrase(*pairs(batch, device))
                    loss = F.binary_cross_entropy_with_logits(logits, labels)
                else:
                    loss = F.mse_loss(model.predict_similarity(*pairs(batch, device)), labels)
                loss.backward()
                optimizer.step()
                total += loss.item()
        score = accuracy(make_loader(dev, args, shuffle=False), model, device)
        if score > best:
            best = score
            save_model(model, optimizer, args, config, args.filepath)
        print(f"Epoch {epoch}: train loss :: {total:.3f}, dev acc :: {score:.3f}")


@torch.no_grad()
def test_multitask(args):
    device = torch.device("cuda") if args.use_gpu else torch.device("cpu")
    saved = torch.load(args.filepath, weights_only=False)
    model = MultitaskBERT(saved["model_config"])
    model.load_state_dict(saved["model"])
    model = model.to(device).eval()
    dev = SentenceDataset(read_rows(args.sst_dev, "id", "sentence", "sentiment"), args)
    with open(args.sst_dev_out, "w") as file:
        file.write("id \t Predicted_Sentiment \n")
        for batch in make_loader(dev, args, shuffle=False):
            predicted = model.predict_sentiment(*sentences(batch, device)).argmax(dim=1).tolist()
            for sent_id, label in zip(batch["sent_ids"], predicted, strict=True):
                file.write(f"{sent_id} , {label} \n")


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sst_train", default="data/ids-sst-train.csv")
    parser.add_argument("--sst_dev", default="data/ids-sst-dev.csv")
    parser.add_argument("--para_train", default="data/quora-train.csv")
    parser.add_argument("--sts_train", default="data/sts-train.csv")
    parser.add_argument("--seed", type=int, default=11711)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--option", choices=("pretrain", "finetune"), default="pretrain")
    parser.add_argument("--use_gpu", action="store_true")
    parser.add_argument("--sst_dev_out", default="predictions/sst-dev-output.csv")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--hidden_dropout_prob", type=float, default=0.3)
    parser.add_argument("--lr", type=float, default=1e-3)
    return parser.parse_args()


if __name__ == "__main__":
    args = get_args()
    args.filepath = f"{args.option}-{args.epochs}-{args.lr}-multitask.pt"
    torch.manual_seed(args.seed)
    train_multitask(args)
    test_multitask(args)
