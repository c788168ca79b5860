"""Every family equals transformers: outputs, gradients, files both ways, adapters, sentence vectors, exports.

What is another model is refused by name; a family is recognised by what its folder holds.

Run: pytest tests/minbert/weights/test_families.py
"""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import minbert
from minbert import (
    Batch,
    BertConfig,
    BertModel,
    InputError,
    LoRAConfig,
    SentenceEncoder,
    SentenceModules,
    Tokenizer,
    add_lora,
    load_lora,
    save_lora,
    write_modules,
)
from minbert.config import ACTIVATIONS
from minbert.export.encoder import export_encoder
from minbert.kernels.registry import KERNELS
from minbert.weights.families import registry
from minbert.weights.families.registry import FAMILIES, OTHER_MODELS
from minbert.weights.hub import needed_files
from minbert.weights.load import hugging_face_name, our_name
from tests.encoders import fill_adapters
from tests.families import FAMILY_NAMES, family_config, random_inputs, random_model, write_family

transformers = pytest.importorskip("transformers", reason="compares with transformers' models")
each_family = pytest.mark.parametrize("name", FAMILY_NAMES)
slow = pytest.mark.slow
pefts_own_warning = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, vocabulary, randomize):
    """folders(name) -> a folder of the family with a tokenizer. To be read only."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("families") / name
            write_family(name, made[name], vocabulary[5:], randomize)
        return made[name]

    return folder


def change_config(folder: Path, **changes) -> None:
    """Changes keys of config.json; None removes one."""
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def copy_of(folder: Path, to: Path, **changes) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    change_config(to, **changes)
    return to


def same_bits(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


# --- what is computed ---------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("seed", range(10))
def test_outputs_and_gradients_equal_transformers(name, seed, randomize, tmp_path):
    dtype = (torch.float32, torch.float64)[seed % 2]
    theirs = random_model(name, seed, randomize)
    theirs.save_pretrained(tmp_path)
    theirs = theirs.to(dtype)
    config = BertConfig.from_folder(tmp_path)
    inputs = random_inputs(config, seed // 2)
    real = inputs["attention_mask"].bool()
    reference = theirs(**inputs)
    weight = torch.randn(
        reference.last_hidden_state.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype
    )

    def loss(output) -> torch.Tensor:
        summed = (output.last_hidden_state * weight * real[..., None]).sum()
        return summed + (output.pooler_output * weight[:, 0]).sum() if config.family.pooler else summed

    loss(reference).backward()
    expected = {our_name(key, config.family): p.grad for key, p in theirs.named_parameters()}
    largest = max(gradient.norm() for gradient in expected.values())
    noise = largest * (1e-6 if dtype == torch.float32 else 1e-13)  # a key's bias has gradient 0
    for kernels in KERNELS:
        ours = BertModel.from_pretrained(tmp_path, kernels).to(dtype)
        out = ours(**inputs)
        torch.testing.assert_close(
            out.last_hidden_state[real], reference.last_hidden_state[real], rtol=0, atol=TOLERANCE[dtype]
        )
        if config.family.pooler:
            torch.testing.assert_close(
                out.pooler_output, reference.pooler_output, rtol=0, atol=TOLERANCE[dtype]
            )
        loss(out).backward()
        found = {key: parameter.grad for key, parameter in ours.named_parameters()}
        assert found.keys() == expected.keys()
        for key, gradient in expected.items():
            assert (found[key] - gradient).norm() <= 1e-4 * gradient.norm() + noise, key


@each_family
def test_packed_and_padded_layouts_agree(name, randomize, tmp_path):
    """With padding ids in the texts, and with a hole in the mask, whose ids count in RoBERTa's positions."""
    random_model(name, 1, randomize).save_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path)
    pad = model.config.pad_token_id
    ids = [[5, pad, 7, 8, 9, 6], [pad, 5, 6], [pad]]
    packed = Batch.from_sequences(ids, [[0] * len(sequence) for sequence in ids])
    expected = model(packed.as_padded())
    assert packed.layout.packed and not packed.as_padded().layout.packed
    torch.testing.assert_close(model(packed).last_hidden_state, expected.last_hidden_state)
    inputs = random_inputs(model.config, 0)
    inputs["attention_mask"][:, 4] = 0
    inputs["attention_mask"][:, 0] = 1
    inputs["input_ids"][:, 4] = (pad + 1) % model.config.vocab_size
    real = inputs["attention_mask"].bool()
    theirs = transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()(**inputs)
    torch.testing.assert_close(
        model(**inputs).last_hidden_state[real], theirs.last_hidden_state[real], rtol=0, atol=1e-5
    )


@each_family
def test_the_longest_input_is_that_of_transformers(name, randomize, tmp_path):
    theirs = random_model(name, 2, randomize, max_position_embeddings=12, pad_token_id=3)
    theirs.save_pretrained(tmp_path)
    model = BertModel.from_pretrained(tmp_path)
    assert model.config.max_length == (8 if model.config.family.counts_positions else 12)
    ids = torch.full((1, model.config.max_length), 5)
    torch.testing.assert_close(model(ids).last_hidden_state, theirs(ids).last_hidden_state, rtol=0, atol=1e-5)
    longer = torch.full((1, model.config.max_length + 1), 5)
    with pytest.raises(InputError, match=f"this model takes {model.config.max_length}"):
        model(longer)
    with pytest.raises((IndexError, RuntimeError)):
        theirs(longer)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_transformers(name):
    x = torch.linspace(-9, 9, 401, dtype=torch.float64)
    expected = transformers.activations.ACT2FN[name](x)
    config = BertConfig(hidden_act=name)
    for kernels in KERNELS.values():
        found = getattr(kernels, config.activation)(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sorted(set(transformers.activations.ACT2FN) - set(ACTIVATIONS)))
def test_other_activations_are_refused(name):
    with pytest.raises(InputError, match=f"hidden_act is '{name}'; it must be one of gelu, "):
        BertConfig.from_dict({"hidden_act": name})


# --- files --------------------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("seed", range(10))
def test_files_are_bit_equal_both_ways(name, seed, randomize, tmp_path):
    theirs = random_model(name, seed, randomize)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertModel.from_pretrained(tmp_path / "theirs")
    family = ours.config.family
    assert family.model_type == name
    assert same_bits(ours.state_dict(), {our_name(k, family): t for k, t in theirs.state_dict().items()})
    report = ours.load_report
    assert not (report.renamed or report.ignored or report.missing or report.prefix or report.notes)
    ours.save_pretrained(tmp_path / "ours")
    files = [tmp_path / place / "model.safetensors" for place in ("ours", "theirs")]
    assert same_bits(*map(load_file, files))
    written, given = (json.loads((path.parent / "config.json").read_text()) for path in files)
    assert written == given
    again = transformers.AutoModel.from_pretrained(tmp_path / "ours")
    assert type(again) is type(theirs) and same_bits(again.state_dict(), theirs.state_dict())


@each_family
def test_defaults_are_those_of_transformers(name):
    theirs = transformers.AutoConfig.for_model(name).to_dict()
    ours = BertConfig.from_dict({"model_type": name}).to_dict()
    del ours["architectures"]
    assert ours == {key: theirs[key] for key in ours}


HEADS = ("AutoModelForMaskedLM", "AutoModelForSequenceClassification", "AutoModelForTokenClassification")


@each_family
@pytest.mark.parametrize("head", HEADS)
def test_models_with_heads_load_without_them(name, head, randomize, tmp_path):
    model = getattr(transformers, head).from_config(family_config(name, 3))
    randomize(model)
    model.save_pretrained(tmp_path)
    ours = BertModel.from_pretrained(tmp_path)
    family = ours.config.family
    report = ours.load_report
    assert report.prefix == f"{family.prefix}." and report.ignored
    assert f"under '{family.prefix}.'" in report.notes[0] and report.ignored[0] in report.notes[1]
    base = {our_name(key, family): t for key, t in model.base_model.state_dict().items()}
    assert same_bits(ours.state_dict(), base)


def test_fewer_layers_than_the_file_holds(folders, tmp_path, run):
    """As transformers: the first ones are loaded."""
    folder = copy_of(folders("distilbert"), tmp_path / "cut", n_layers=1)
    model = BertModel.from_pretrained(folder)
    whole = BertModel.from_pretrained(folders("distilbert"))
    assert len(model.load_report.above) == 16 and "more layers" in model.load_report.notes[0]
    batch = Tokenizer.from_pretrained(folder)(["a cat reads"])
    assert torch.equal(model(batch).packed, whole(batch, layers=1).packed)
    status, out, _ = run("inspect", folder)
    assert status == 0 and "more layers than num_hidden_layers" in out


# --- recognition and refusal --------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", [None, "bert"])
@pytest.mark.parametrize("name", [name for name in FAMILY_NAMES if name != "bert"])
def test_a_family_is_recognised_by_its_classes(name, model_type, folders, tmp_path):
    folder = copy_of(folders(name), tmp_path / "copy", model_type=model_type)
    model, whole = BertModel.from_pretrained(folder), BertModel.from_pretrained(folders(name))
    assert model.config == whole.config
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == name


@pytest.mark.parametrize("architectures", [None, ["BertModel"], ["SomethingElse"]])
@pytest.mark.parametrize("before", ["roberta.", "model.roberta."])
def test_a_roberta_is_recognised_by_its_tensors(architectures, before, folders, tmp_path):
    folder = copy_of(folders("roberta"), tmp_path / "copy", model_type="bert", architectures=architectures)
    tensors = load_file(folder / "model.safetensors")
    save_file({f"{before}{key}": tensor for key, tensor in tensors.items()}, folder / "model.safetensors")
    model, whole = BertModel.from_pretrained(folder), BertModel.from_pretrained(folders("roberta"))
    assert model.config == whole.config and model.load_report.prefix == before


@pytest.mark.parametrize("model_type", OTHER_MODELS)
def test_other_models_are_refused_by_name(model_type):
    name, start = OTHER_MODELS[model_type]
    classes = [f"{start}ForMaskedLM"]
    for values, tensors in (
        ({"model_type": model_type}, ()),
        ({"architectures": classes}, ()),
        ({"model_type": "bert", "architectures": classes}, ()),
        ({"model_type": "bert"}, [f"{model_type}.embeddings.word_embeddings.weight"]),
    ):
        with pytest.raises(
            InputError, match=f"which is {re.escape(name)}, another model; supported"
        ) as error:
            BertConfig.from_dict(values, tensors)
        assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', which is not a model of BERT's family; supported"),
        ({"model_type": ["bert"]}, r"model_type is \['bert'\], which is not"),
        ({"architectures": ["GPT2Model"]}, "architectures is 'GPT2Model' without a model_type, which is not"),
        ({"model_type": "electra", "architectures": ["BertModel"]}, "'electra' .ELECTRA. contradict each"),
        ({"pad_token_id": 1, "bos_token_id": 0}, "neither model_type nor architectures, and pad_token_id 1"),
        ({"model_type": "distilbert", "n_heads": 4, "num_attention_heads": 6}, "DistilBERT reads n_heads"),
        ({"model_type": "roberta", "pad_token_id": None}, "RoBERTa counts positions by it"),
        ({"model_type": "roberta", "max_position_embeddings": 2}, "with pad_token_id 1 needs at least 3"),
    ],
)
def test_what_cannot_be_told_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        BertConfig.from_dict(values)


def test_classes_that_contradict_the_tensors_are_refused():
    values = {"model_type": "bert", "architectures": ["RobertaModel"]}
    with pytest.raises(InputError, match="tensor bert.embeddings.* .BERT. and architectures 'RobertaModel'"):
        BertConfig.from_dict(values, ["bert.embeddings.word_embeddings.weight"])


def test_values_that_a_family_does_not_have_are_refused():
    with pytest.raises(InputError, match="type_vocab_size is 2; for DistilBERT it must be 0"):
        BertConfig(model_type="distilbert")
    with pytest.raises(InputError, match="embedding_size is 8; for BERT it must be None"):
        BertConfig(embedding_size=8)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if not family.pooler])
def test_a_pooler_that_a_family_lacks_is_refused(name, folders):
    with pytest.raises(InputError, match='pooler is \'random\', and .* has none; pool by "cls" or "mean"'):
        BertModel.from_pretrained(folders(name), pooler="random")
    with pytest.raises(InputError, match="pooling is 'pooler', and .* has none; take cls or mean"):
        SentenceEncoder.from_pretrained(folders(name), pooling="pooler")
    with pytest.raises(InputError, match='no pooler; pool by "cls", "mean"'):
        _ = BertModel.from_pretrained(folders(name))(torch.ones(1, 3).long()).pooler_output


def test_two_encoders_in_a_file_are_refused(folders, tmp_path):
    folder = copy_of(folders("roberta"), tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    both = {f"{side}.{key}": t.clone() for side in ("query", "document") for key, t in tensors.items()}
    save_file(both, folder / "model.safetensors")
    with pytest.raises(InputError, match="holds 2 encoders, under 'document.' and 'query.'"):
        BertModel.from_pretrained(folder)


@each_family
def test_the_hub_names_the_files_of_a_family(name, folders):
    listed = [file.name for file in folders(name).iterdir()] + ["merges.txt", "pytorch_model.bin"]
    needed = needed_files(name, listed, lambda file: folders(name) / file)
    assert needed == ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]


# --- adapters, sentence vectors, exports --------------------------------------------------------------------

TARGETS = ("query", "output")


@pefts_own_warning
@each_family
def test_lora_from_and_to_peft(name, folders, tmp_path):
    peft = pytest.importorskip("peft")
    ours = BertModel.from_pretrained(folders(name))
    family = ours.config.family
    inputs = random_inputs(ours.config, 3)
    real = inputs["attention_mask"].bool()

    def assert_same(theirs, ours) -> None:
        found, expected = (model(**inputs).last_hidden_state[real] for model in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

    chosen = add_lora(ours, LoRAConfig(rank=3, alpha=5, targets=TARGETS))
    fill_adapters(ours)
    save_lora(ours, tmp_path / "ours")
    base = transformers.AutoModel.from_pretrained(folders(name))
    assert_same(peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval(), ours)

    ends = {hugging_face_name(f"{module}.x", family).removesuffix(".x").split(".", 3)[3] for module in chosen}
    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=sorted(ends))
    theirs = peft.get_peft_model(transformers.AutoModel.from_pretrained(folders(name)), config).eval()
    fill_adapters(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    again = BertModel.from_pretrained(folders(name))
    load_lora(again, tmp_path / "theirs")
    assert_same(theirs, again)


@pefts_own_warning
@each_family
def test_lora_of_a_task_model_of_peft(name, folders, tmp_path):
    peft = pytest.importorskip("peft")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folders(name), num_labels=3)
    ours = BertModel.from_pretrained(folders(name))
    query = hugging_face_name("encoder.layers.0.attention.query.x", ours.config.family).split(".")[-2]
    theirs = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=[query], task_type="SEQ_CLS"))
    fill_adapters(theirs)
    theirs.save_pretrained(tmp_path)
    inputs = random_inputs(ours.config, 3)
    report = load_lora(ours, tmp_path)
    assert report.others and all(key.startswith(("classifier.", "pre_classifier.")) for key in report.others)
    expected = theirs.eval().base_model.model.base_model(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours(**inputs).last_hidden_state[real], expected[real], rtol=0, atol=1e-5)


@each_family
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_equal_those_of_sentence_transformers(name, pooling, folders, tmp_path, texts):
    library = pytest.importorskip("sentence_transformers")
    folder = copy_of(folders(name), tmp_path / "sentence")
    write_modules(folder, SentenceModules.of(24, pooling, "l2"), max_length=20)
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(texts)
    ours = SentenceEncoder.from_pretrained(folder).encode(texts)
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=1e-6)


@each_family
def test_exported_folders_load_elsewhere(name, folders, tmp_path, texts):
    export_encoder(folders(name), tmp_path / "out", "hf")
    ids = [sequence.ids for sequence in Tokenizer.from_pretrained(folders(name)).encode(texts)]
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(texts)["input_ids"] == ids
    found = transformers.AutoModel.from_pretrained(tmp_path / "out").state_dict()
    assert same_bits(found, transformers.AutoModel.from_pretrained(folders(name)).state_dict())


@slow
@each_family
def test_onnx_gives_our_vectors(name, folders, tmp_path):
    pytest.importorskip("onnxscript")
    report = export_encoder(folders(name), tmp_path / "out", "onnx")
    assert report.largest_difference < 1e-5
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"S is at most\n{BertConfig.from_folder(folders(name)).max_length}." in readme


@each_family
def test_inspect_shows_what_a_folder_holds(name, folders, run):
    status, out, _ = run("inspect", folders(name), "--json")
    facts = json.loads(out)
    assert (status, facts["config"]["model_type"]) == (0, name)
    theirs = transformers.AutoModel.from_pretrained(folders(name))
    assert facts["parameters"] == theirs.num_parameters()


# --- the tables ---------------------------------------------------------------------------------------------


def test_a_family_is_a_table_of_at_most_60_lines():
    place = Path(registry.__file__).parent
    for file in ("bert", "roberta", "distilbert", "electra"):
        assert len((place / f"{file}.py").read_text().splitlines()) <= 60, file


def test_the_model_has_no_branch_on_a_familys_name():
    source = (Path(minbert.__file__).parent / "model.py").read_text()
    names = [*FAMILIES.keys() - {"bert"}, "model_type", *(family.name for family in FAMILIES.values())]
    code = re.sub(r'"""[\s\S]*?"""', "", source)
    assert not [name for name in names if name != "BERT" and name in code]


def test_the_document_shows_the_table_of_electra():
    document = Path(__file__).parents[3] / "docs" / "adding-a-family.md"
    [block] = re.findall(r"^```python\n(.*?)^```$", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    made: dict = {}
    exec(block, made)
    assert made["ELECTRA"] == FAMILIES["electra"]
