"""A multitask_classifier.py in another style: one file, pairs joined into one input, means, rates by part."""

import argparse
import csv
from itertools import cycle
from pathlib import Path

import torch
from bert import BertModel
from optimizer import AdamW
from tokenizer import BertTokenizer
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

TASKS = {
    "sst": ("ids-sst", ("sentence",), "sentiment", 5),
    "para": ("quora", ("sentence1", "sentence2"), "is_duplicate", 1),
    "sts": ("sts", ("sentence1", "sentence2"), "similarity", 1),
}


class Model(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.bert = BertModel.from_pretrained("bert-base-uncased", local_files_only=args.local_files_only)
        self.bert.train()
        size = self.bert.config.hidden_size
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(size, size), nn.Tanh(), nn.Dropout(0.1), nn.Linear(size, outputs)
                )
                for name, (_, _, _, outputs) in TASKS.items()
            }
        )

    def forward(self, task, inputs):
        outputs = self.bert(**inputs)
        mask = inputs["attention_mask"].unsqueeze(-1)
        mean = (outputs["last_hidden_state"] * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return self.heads[task](mean)


class Collator:
    def __init__(self, args):
        self.tokenizer = BertTokenizer.from_pretrained(
            "bert-base-uncased", local_files_only=args.local_files_only
        )

    def __call__(self, examples):
        texts, labels = zip(*examples, strict=True)
        sides = [list(side) for side in zip(*texts, strict=True)]
        inputs = self.tokenizer(*sides, return_tensors="pt", padding=True, truncation=True, max_length=32)
        return inputs, torch.tensor(labels)

    def longest(self, examples):
        return max(len(self.tokenizer.tokenize(text)) for texts, _ in examples for text in texts)


def load(folder, task, split):
    stem, columns, label, _ = TASKS[task]
    with open(folder / f"{stem}-{split}.csv", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [([row[column] for column in columns], float(row[label])) for row in rows]


def loss_of(task, outputs, labels):
    if task == "sst":
        return F.cross_entropy(outputs, labels.long())
    if task == "para":
        return F.binary_cross_entropy_with_logits(outputs.squeeze(-1), labels)
    return F.mse_loss(5 * torch.sigmoid(outputs.squeeze(-1)), labels)


def evaluate(model, loader, task):
    model.eval()
    with torch.no_grad():
        losses = [loss_of(task, model(task, inputs), labels).item() for inputs, labels in loader]
    model.train()
    return sum(losses) / len(losses)


def main(args):
    torch.manual_seed(args.seed)
    folder, collator, model = Path(args.data), Collator(args), Model(args)
    train = {task: load(folder, task, "train") for task in TASKS}
    dev = {task: load(folder, task, "dev") for task in TASKS}
    print("longest", max(map(collator.longest, train.values())))
    make = {"batch_size": args.batch_size, "collate_fn": collator}
    steps = {task: cycle(DataLoader(rows, shuffle=True, **make)) for task, rows in train.items()}
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1]
    others = [p for name, p in model.named_parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = AdamW(groups, lr=args.lr)
    schedule = LambdaLR(optimizer, lambda step: 1 - step / args.steps)
    before = {task: evaluate(model, DataLoader(rows, **make), task) for task, rows in dev.items()}
    for _ in range(args.steps):
        optimizer.zero_grad(set_to_none=True)
        for task in TASKS:
            inputs, labels = next(steps[task])
            loss_of(task, model(task, inputs), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    after = {task: evaluate(model, DataLoader(rows, **make), task) for task, rows in train.items()}
    torch.save({"model": model.state_dict(), "args": args}, args.out)
    for task in TASKS:
        print(task, before[task], after[task])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="data")
    parser.add_argument("--out", default="model.pt")
    parser.add_argument("--local_files_only", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    main(parser.parse_args())
