"""Loads what scripts/transformers-check.mjs has saved with transformers and peft, and compares logits, ids and settings.

python3 scripts/transformers-check.py FOLDER [--save BACK]
A line for each subfolder of FOLDER, and nothing else is read. With --save, what was loaded is saved again into BACK, for
`node scripts/transformers-check.mjs FOLDER --read BACK`. Exit code 1 where anything failed.
"""

import json
import os
import sys
import traceback
import warnings
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch  # noqa: E402

LIMIT = 1e-4


def auto_class(kind):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForCausalLM if kind == "lm" else AutoModelForSequenceClassification


def load(folder, kind, new_head=False):
    """The model of `folder` in f32, and a note. Weights that are missing or left over are an error, but for a new head's."""
    more = {"num_labels": 1} if new_head else {}
    model, info = auto_class(kind).from_pretrained(
        str(folder), dtype=torch.float32, local_files_only=True, output_loading_info=True, **more
    )
    allowed = {"score.weight"} if new_head else set()
    dropped = {"lm_head.weight", "embed_out.weight"} if new_head else set()
    found = {key: set(map(str, info.get(key) or [])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
    found["missing_keys"] -= allowed
    found["unexpected_keys"] -= dropped
    wrong = {key: sorted(names)[:6] for key, names in found.items() if names}
    if wrong:
        raise AssertionError(f"weights: {wrong}")
    return model.eval()


def load_adapter(model, folder):
    from peft import PeftModel

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(model, str(folder)).eval()
    bad = [str(w.message) for w in said if "missing" in str(w.message) or "inconsisten" in str(w.message)]
    if bad:
        raise AssertionError(f"peft: {bad[0][:300]}")
    return model


def check_architecture(folder, model):
    """The class that config.json names is the one that was made."""
    named = json.loads((folder / "config.json").read_text())["architectures"]
    if type(model).__name__ not in named:
        raise AssertionError(f"config.json names {named}, transformers made {type(model).__name__}")


@torch.no_grad()
def logits_of(model, inputs, kind):
    """A row of numbers for each text, as inputs.json has them: both texts in one batch, where there is padding for them."""
    rows, pad = inputs["rows"], inputs["padId"]
    length = max(map(len, rows))
    batched = kind == "lm" or model.config.pad_token_id is not None
    if batched and kind == "scalar" and model.config.pad_token_id != pad:
        raise AssertionError(f"pad_token_id is {model.config.pad_token_id}, vbon padded with {pad}")
    groups = [rows] if batched else [[row] for row in rows]
    found = []
    for group in groups:
        width = length if batched else len(group[0])
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in group])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in group])
        out = model(input_ids=ids, attention_mask=mask).logits.double()
        for row, logits in zip(group, out):
            found.append((logits[: len(row)] if kind == "lm" else logits).flatten())
    return torch.cat(found), batched


def compare(model, inputs):
    got, batched = logits_of(model, inputs, inputs["kind"])
    want = torch.tensor([x for row in inputs["logits"] for x in row], dtype=torch.float64)
    if got.shape != want.shape:
        raise AssertionError(f"{len(got)} logits, vbon has {len(want)}")
    absolute = (got - want).abs().max().item()
    relative = absolute / want.abs().max().item()
    if not relative < LIMIT:
        raise AssertionError(f"largest difference {absolute:.3g}, relative {relative:.3g}")
    spread = (want.max() - want.min()).item()
    return f"largest relative difference {relative:.1e} (absolute {absolute:.1e}, of logits over {spread:.1f})" + (
        "" if batched else ", one text at a time"
    )


def check_tokenizer(folder, inputs):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    for case in inputs["texts"]:
        ids = tokenizer(case["text"])["input_ids"]
        if ids != case["ids"]:
            raise AssertionError(f"{type(tokenizer).__name__}: ids of {case['text']!r}: {ids}, vbon {case['ids']}")
    for name, want in inputs["special"].items():
        got = getattr(tokenizer, f"{name}_token_id")
        if want is not None and got != want:  # some classes name tokens that no file names
            raise AssertionError(f"{type(tokenizer).__name__}: {name}_token_id {got}, vbon {want}")
    decoded = [tokenizer.decode(c["ids"], skip_special_tokens=True, clean_up_tokenization_spaces=False) for c in inputs["texts"]]
    others = [(got, c["decoded"]) for got, c in zip(decoded, inputs["texts"]) if got != c["decoded"]]
    notes = [f"ids of {len(decoded)} texts"] + [f"NOTE decodes {got!r}, vbon {want!r}" for got, want in others[:1]]
    if "chat" in inputs:
        chat = inputs["chat"]
        ids = tokenizer.apply_chat_template(chat["messages"], add_generation_prompt=True, tokenize=True, return_dict=False)
        if list(ids) != chat["ids"]:
            raise AssertionError(f"chat template: {list(ids)}, vbon {chat['ids']}")
        notes.append("chat template")
    return tokenizer, notes


def check_generation(folder, model, inputs):
    """What generation_config.json says is taken over, and generation by it runs."""
    want = json.loads((folder / "generation_config.json").read_text())
    got = {key: getattr(model.generation_config, key) for key in want}
    if got != want:
        raise AssertionError(f"generation_config.json: {want} became {got}")
    row = inputs["rows"][0]
    torch.manual_seed(0)
    out = model.generate(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.long), max_new_tokens=3)
    if out.shape[1] <= len(row):
        raise AssertionError("generate: nothing came")
    return "generates"


def check(folder, save):
    inputs = json.loads((folder / "inputs.json").read_text())
    kind, base = inputs["kind"], inputs.get("base")
    model_folder = folder.parent / base if base else folder
    new_head = bool(base) and kind == "scalar" and json.loads((model_folder / "inputs.json").read_text())["kind"] == "lm"
    model = load(model_folder, kind, new_head)
    if not new_head:
        check_architecture(model_folder, model)
    notes = []
    if base:
        model = load_adapter(model, folder)
        notes.append("adapter")
    else:
        from transformers import AutoConfig

        dtype = AutoConfig.from_pretrained(str(folder), local_files_only=True).dtype
        if str(dtype) != f"torch.{inputs['dtype']}":
            raise AssertionError(f"config.json's dtype is read as {dtype}, saved as {inputs['dtype']}")
    notes.insert(0, compare(model, inputs))
    if kind == "lm" and (folder / "generation_config.json").exists():
        notes.append(check_generation(folder, model, inputs))
    tokenizer = None
    if (folder / "tokenizer.json").exists():
        tokenizer, more = check_tokenizer(folder, inputs)
        notes += more
    if save:
        for what in filter(None, (model, tokenizer)):
            what.save_pretrained(str(save / folder.name))
    return "; ".join(notes)


def main(folder, save):
    passed = failed = 0
    for sub in sorted(path for path in folder.iterdir() if (path / "inputs.json").exists()):
        try:
            print(f"ok {sub.name} {check(sub, save)}", flush=True)
            passed += 1
        except Exception as error:  # noqa: BLE001
            failed += 1
            lines = traceback.format_exc().strip().splitlines()[-5:-1]
            print(f"FAIL {sub.name} {type(error).__name__}: {str(error)[:1500]}", *lines, sep="\n    ", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    if len(words) not in (1, 3) or (len(words) == 3 and words[1] != "--save"):
        sys.exit("usage: python3 scripts/transformers-check.py FOLDER [--save BACK]")
    import peft
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(4)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    sys.exit(main(Path(words[0]), Path(words[2]) if len(words) == 3 else None))
