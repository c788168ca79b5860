"""Data sets in the starter's style: tokenized in collate_fn, padded tensors in a dictionary."""

import csv

import torch
from tokenizer import BertTokenizer
from torch.utils.data import Dataset


def read_rows(path, *columns):
    with open(path, encoding="utf-8") as file:
        return [[row[column] for column in columns] for row in csv.DictReader(file, delimiter="\t")]


class SentenceDataset(Dataset):
    def __init__(self, rows, args):
        self.rows = rows
        self.args = args
        self.tokenizer = BertTokenizer.from_pretrained("bert-base-uncased")

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]

    def pad(self, sentences):
        encoding = self.tokenizer(sentences, return_tensors="pt", padding=True, truncation=True)
        token_ids = torch.LongTensor(encoding["input_ids"])
        attention_mask = torch.LongTensor(encoding["attention_mask"])
        token_type_ids = torch.LongTensor(encoding["token_type_ids"])
        return token_ids, attention_mask, token_type_ids

    def collate_fn(self, rows):
        token_ids, attention_mask, token_type_ids = self.pad([row[1].lower().strip() for row in rows])
        return {
            "token_ids": token_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "labels": torch.LongTensor([int(row[2]) for row in rows]),
            "sent_ids": [row[0] for row in rows],
        }


class PairDataset(SentenceDataset):
    def collate_fn(self, rows):
        batch = {
            "labels": torch.tensor([float(row[3]) for row in rows]),
            "sent_ids": [row[0] for row in rows],
        }
        for number in (1, 2):
            token_ids, attention_mask, token_type_ids = self.pad([row[number] for row in rows])
            batch[f"token_ids_{number}"] = token_ids
            batch[f"attention_mask_{number}"] = attention_mask
            batch[f"token_type_ids_{number}"] = token_type_ids
        return batch
