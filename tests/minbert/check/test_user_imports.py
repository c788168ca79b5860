"""Projects of students as they are laid out, each loaded in a process of its own.

Run: pytest tests/minbert/check/test_user_imports.py
"""

import json
import os
import subprocess
import sys

import pytest

BASE = """
from config import BertConfig, PretrainedConfig
from utils import *

class BertPreTrainedModel(nn.Module):
    config_class = BertConfig

    def __init__(self, config: PretrainedConfig):
        super().__init__()

    def path(self, folder: Optional[Union[str, os.PathLike]]):
        return hf_bucket_url(folder, filename=WEIGHTS_NAME) if is_remote_url(folder) else folder

    @property
    def dtype(self):
        return get_parameter_dtype(self)

    OWN = True
"""
CONFIG = """
from utils import CONFIG_NAME, cached_path, hf_bucket_url, is_remote_url

class PretrainedConfig:
    OWN = True

class BertConfig(PretrainedConfig):
    pass
"""
UTILS = """
from typing import *
import os
import torch
from torch import nn
CONFIG_NAME, WEIGHTS_NAME, OWN = "config.json", "weights", True
def get_parameter_dtype(parameter): return next(parameter.parameters()).dtype
def get_extended_attention_mask(attention_mask, dtype): return (1 - attention_mask[:, None, None]) * -1e4
def is_remote_url(url): return False
cached_path = hf_bucket_url = None
"""
BERT = """
from typing import Dict
import torch
from {package}base_bert import BertPreTrainedModel
from {package}utils import *

class BertModel(BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, mask):
        return get_extended_attention_mask(mask, self.dtype)
"""
LAZY = (
    BERT.format(package="minbert.")
    + """
    def late(self):
        from minbert.layers.attention import SIZE
        return SIZE
"""
)
RELATIVE = BASE.replace("from ", "from .").replace("    OWN = True", "    OWN = 'relative'")
BROKEN = "from huggingface_hub.hf_api_of_once import HfFolder\n"
PROJECTS = {  # the file, and those beside it
    "nothing of its own": ("bert.py", {}),
    "base_bert": ("bert.py", {"base_bert.py": BASE}),
    "config": ("bert.py", {"config.py": CONFIG}),
    "utils": ("bert.py", {"utils.py": UTILS}),
    "base_bert and config": ("bert.py", {"base_bert.py": BASE, "config.py": CONFIG}),
    "all": ("bert.py", {"base_bert.py": BASE, "config.py": CONFIG, "utils.py": UTILS}),
    "utils that fails": ("bert.py", {"base_bert.py": BASE, "config.py": CONFIG, "utils.py": BROKEN}),
    "base_bert that fails": ("bert.py", {"base_bert.py": "1 / 0", "utils.py": UTILS}),
    "package": ("src/models/bert.py", {"src/models/base_bert.py": BASE, "README.md": ""}),
    "package without the starter's": ("src/models/bert.py", {"src/models/__init__.py": ""}),
    "relative": ("src/bert.py", {"src/base_bert.py": RELATIVE}),
    "relative, __init__ fails": ("src/bert.py", {"src/__init__.py": "import nothing_of_this_name\n"}),
    "starter's files above": (
        "models/bert.py",
        {"base_bert.py": BASE, "config.py": CONFIG, "utils.py": UTILS},
    ),
    "minbert": ("minbert/bert.py", {"minbert/__init__.py": "", "minbert/layers/attention.py": "SIZE = 7\n"}),
}
SOURCES = {
    "package": BERT.format(package="src.models."),
    "package without the starter's": BERT.format(package="src.models."),
    "relative": BERT.format(package="."),
    "relative, __init__ fails": BERT.format(package="."),
    "minbert": LAZY,
}
LOADS = """
import json, os, sys, traceback
import torch
import minbert
from minbert.check.isolation.imports import UserImports
from pathlib import Path

for line in sys.stdin:
    if os.fork() == 0:
        name, file = json.loads(line)
        found = {"notes": []}
        try:
            module = UserImports(Path(file), found["notes"]).load()
            model = module.BertModel(object())
            found["mask"] = model.forward(torch.tensor([[1, 0]])).tolist()
            found["own"] = hasattr(module.BertModel, "OWN"), hasattr(sys.modules.get("utils"), "OWN")
            found["late"] = model.late() if hasattr(model, "late") else None
            from minbert.errors import InputError
            found["ours"] = minbert is sys.modules["minbert"] and InputError.__module__
        except Exception:
            found["error"] = traceback.format_exc()
        print(json.dumps([name, found]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Project -> what was seen of it."""
    lines = []
    for name, (file, others) in PROJECTS.items():
        folder = tmp_path_factory.mktemp("project")
        for path, text in {file: SOURCES.get(name, BERT.format(package="")), **others}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        lines.append(json.dumps([name, str(folder / file)]))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", LOADS]
    run = subprocess.run(command, input="\n".join(lines), env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return dict(map(json.loads, run.stdout.splitlines()))


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_is_loaded(loaded, project):
    found = loaded[project]
    assert "error" not in found, found["error"]
    assert found["mask"] in ([[[[0.0, -10000.0]]]], [[[[-0.0, -10000.0]]]])
    assert found["ours"] == "minbert.errors"
    assert found["late"] == (7 if project == "minbert" else None)
    own = {path.rpartition("/")[2] for path in PROJECTS[project][1]}
    base_is_own = "base_bert.py" in own and project != "base_bert that fails"
    assert found["own"][0] == base_is_own


def test_stand_ins_for_what_fails_are_noted(loaded):
    assert {name for name, found in loaded.items() if found["notes"]} == {
        "utils that fails",
        "base_bert that fails",
        "relative, __init__ fails",
    }
    assert "utils.py cannot be imported (ModuleNotFoundError: " in loaded["utils that fails"]["notes"][0]
