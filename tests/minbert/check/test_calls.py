"""Students' classes that want more than the check gives, and attributes of their own in the config.

Run: pytest tests/minbert/check/test_calls.py
"""

import pytest

from minbert import CommandParser, InputError
from minbert.check.bert.model import MODEL, literal, model_with_config
from minbert.check.isolation.process import check_file
from minbert.check.parts import CONFIGURED_MODEL
from minbert.cli.check import add_check_options, check_command
from tests.minbert.check.judging import judged, source_of
from tests.minbert.check.students import model

SOURCE = source_of(model)
ADAPTED = SOURCE.replace("self.config = config", "self.config = config; assert config.adapters['rank'] == 8")


def found(part, source, folder):
    return {finding.stage: finding for finding in judged(part, source, folder)}


@pytest.mark.parametrize(
    ("old", "new", "stage", "said"),
    [
        (
            "class BertLayer(nn.Module):\n    def __init__(self, config):",
            "class BertLayer(nn.Module):\n    def __init__(self, config, number):",
            "one layer",
            "the check calls BertLayer(config), but it takes (config, number) (missing a required argument: "
            "'number'); give further arguments default values",
        ),
        (
            "def forward(self, hidden_states, attention_mask):",
            "def forward(self, hidden_states, attention_mask, config):",
            "self-attention",
            "the check calls BertSelfAttention.forward with 2 arguments, but it takes (hidden_states, "
            "attention_mask, config)",
        ),
        (
            "def forward(self, input_ids, attention_mask):",
            "def forward(self, input_ids, attention_mask, token_type_ids):",
            "whole model",
            "the check calls BertModel.forward(input_ids, attention_mask), but it takes (input_ids,",
        ),
        (
            "self.config = config",
            "self.config = config; assert config.adapters",
            "whole model",
            "the check's config has no 'adapters'; give it by --config adapters=VALUE",
        ),
    ],
)
def test_what_the_check_gives_is_said(old, new, stage, said, tmp_path):
    assert SOURCE.count(old) == 1
    finding = found(MODEL, SOURCE.replace(old, new), tmp_path)[stage]
    assert finding.status == "failed" and said in finding.detail


def test_attributes_of_the_config(tmp_path):
    part = model_with_config(adapters='{"rank": 8}', name_or_path="mine")
    assert {finding.status for finding in found(part, ADAPTED, tmp_path).values()} == {"same"}
    assert [literal(text) for text in ("true", "2e-5", "null", "bert", "[1]")] == [
        True,
        2e-5,
        None,
        "bert",
        [1],
    ]


def test_the_option_in_the_files_process(tmp_path, capsys):
    file = tmp_path / "bert.py"
    file.write_text(ADAPTED)
    assert {f.status for f in check_file(CONFIGURED_MODEL, file, settings={"adapters": '{"rank": 8}'})} == {
        "same"
    }
    parser = CommandParser(prog="minbert check")
    add_check_options(parser)
    for words, said in (
        (["--model", str(file), "--config", "adapters"], "--config is 'adapters'; give KEY=VALUE"),
        (["--optimizer", str(file), "--config", "a=1"], "--config goes with --model"),
    ):
        with pytest.raises(InputError, match=said):
            check_command(parser.parse_args(words))
