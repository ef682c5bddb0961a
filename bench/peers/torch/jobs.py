"""The work of ../items.ts in PyTorch and NumPy. A job is (name, units a call, call): checked once, then timed."""

import torch
import torch.nn.functional as F

from models import build, caches_of


class Setting:
    """Where and how: {"device": "cpu" or "cuda", "precision": "f32" or "bf16", "compile": bool, "library": ...}."""

    def __init__(self, raw):
        self.device = raw.get("device", "cpu")
        self.bf16 = raw.get("precision") == "bf16"
        self.compile = raw.get("compile", False)
        self.library = raw.get("library", "torch")

    def autocast(self):
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)

    def settle(self):
        if self.device == "cuda":
            torch.cuda.synchronize()


def need(good, what):
    if not good:
        raise ValueError(what)


def matmul_jobs(work, setting):
    jobs, worst = [], 0.0
    for M, N, K in work["shapes"]:
        for mode in work["modes"]:
            call, error = numpy_matmul(M, N, K, mode) if setting.library == "openblas" else torch_matmul(M, N, K, mode, setting)
            need(error < (0.05 if setting.bf16 else 1e-4), f"matmul {mode} {M}x{N}x{K}: relative error {error}")
            worst = max(worst, error)
            jobs.append((f"{mode} {M}x{N}x{K}", 2e-9 * M * N * K, call))
    return jobs, f"largest error {worst:.0e} of the largest value"


def torch_matmul(M, N, K, mode, setting):
    dtype = torch.bfloat16 if setting.bf16 else torch.float32
    a = torch.randn((K, M) if mode == "tn" else (M, K), device=setting.device, dtype=dtype)
    b = torch.randn((N, K) if mode == "nt" else (K, N), device=setting.device, dtype=dtype)
    x, y = a.t() if mode == "tn" else a, b.t() if mode == "nt" else b
    out = torch.empty((M, N), device=setting.device, dtype=dtype)
    call = lambda: torch.mm(x, y, out=out)
    call()
    rows = torch.arange(0, M, max(1, M // 16), device=setting.device)
    exact = x[rows].double() @ y.double()
    return call, ((out[rows].double() - exact).abs().max() / exact.abs().max()).item()


def numpy_matmul(M, N, K, mode):
    import numpy as np

    random = np.random.default_rng(1)
    a = random.standard_normal((K, M) if mode == "tn" else (M, K), dtype=np.float32)
    b = random.standard_normal((N, K) if mode == "nt" else (K, N), dtype=np.float32)
    x, y = a.T if mode == "tn" else a, b.T if mode == "nt" else b
    out = np.empty((M, N), np.float32)
    call = lambda: np.matmul(x, y, out=out)
    call()
    rows = slice(0, M, max(1, M // 16))
    exact = x[rows].astype(np.float64) @ y.astype(np.float64)
    return call, float(abs(out[rows] - exact).max() / abs(exact).max())


def train_jobs(work, setting):
    """One call = forward, backward, AdamW on the same batch again and again: its loss must fall."""
    model = build(work["model"]).to(setting.device)
    B, T, V = work["rows"], work["length"], work["model"]["vocab_size"]
    text = torch.randint(0, V, (B, T + 1), device=setting.device)
    ids, targets = text[:, :-1].contiguous(), text[:, 1:].reshape(-1)
    fast = {"fused": True} if setting.device == "cuda" else {"foreach": True}
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, **fast)

    def loss_of(ids, targets):
        logits = model.logits(model(ids))
        return F.cross_entropy(logits.view(-1, V), targets)

    loss_of = torch.compile(loss_of) if setting.compile else loss_of

    def step():
        with setting.autocast():
            loss = loss_of(ids, targets)
        loss.backward()
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        return loss

    losses = [step().item() for _ in range(4)]
    need(all(x == x for x in losses) and losses[-1] < losses[0], f"train: the loss does not fall: {losses}")
    return [("step", B * T, step)], f"loss {losses[0]:.3f}, {losses[-1]:.3f} three steps later"


def decode_jobs(work, setting):
    """One call = all responses to one prompt: the prompt once, then a token a row and step, drawn at temperature 1."""
    model = build(work["model"]).to(setting.device).eval()
    rows, P, N, V = work["rows"], work["prompt"], work["tokens"], work["model"]["vocab_size"]
    model = model.to(torch.bfloat16) if setting.bf16 else model
    prompt = torch.arange(1, P + 1, device=setting.device)[None]
    caches, first = caches_of(model, rows, P + N), caches_of(model, 1, P)
    forward = torch.compile(model, dynamic=True) if setting.compile else model

    @torch.inference_mode()
    def generate():
        last = model.logits(model(prompt, first, 0)[:, -1]).expand(rows, V)
        for one, all_rows in zip(first, caches):
            all_rows.extend(one.k.expand(rows, -1, -1, -1), one.v.expand(rows, -1, -1, -1), 0)
        tokens, scores = [], []
        for i in range(N):
            logprobs = last.float().log_softmax(-1)
            token = torch.multinomial(logprobs.exp(), 1)
            tokens.append(token)
            scores.append(logprobs.gather(1, token))
            if i < N - 1:
                last = model.logits(forward(token, caches, P + i)[:, -1])
        return torch.cat(tokens, 1), torch.cat(scores, 1)

    with torch.inference_mode():
        tokens, scores = generate()
        text = torch.cat((prompt.expand(rows, P), tokens), 1)
        exact = model.logits(model(text[:, :-1]))[:, P - 1 :].float().log_softmax(-1).gather(2, tokens[..., None])[..., 0]
        error = (scores - exact).abs().max().item()
    need(error < (0.2 if setting.bf16 else 1e-3), f"decode: log-probabilities differ by {error} from those of the whole text")
    return [("generate", rows * N, generate)], f"log-probabilities within {error:.0e} of the whole text's"


def transformers_jobs(work, setting):
    """generate() of Hugging Face's transformers on the same shape."""
    import transformers

    config = {k: v for k, v in work["model"].items() if k != "model_type"}
    kinds = {"gpt2": transformers.GPT2LMHeadModel, "llama": transformers.LlamaForCausalLM}
    kind = kinds[work["model"]["model_type"]]
    model = kind(kind.config_class(**config)).to(setting.device).eval()
    model = model.to(torch.bfloat16) if setting.bf16 else model
    rows, P, N = work["rows"], work["prompt"], work["tokens"]
    prompt = torch.arange(1, P + 1, device=setting.device).expand(rows, P).contiguous()
    settings = {"do_sample": True, "top_k": 0, "min_new_tokens": N, "max_new_tokens": N, "pad_token_id": 0}

    @torch.inference_mode()
    def generate():
        return model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)

    shape = tuple(generate().shape)
    need(shape == (rows, P + N), f"transformers: expected {(rows, P + N)} tokens, got {shape}")
    return [("generate", rows * N, generate)], f"{rows} x {N} tokens came"


def jobs_of(work, setting):
    kind = work["kind"]
    if setting.library == "transformers":
        return transformers_jobs(work, setting)
    return {"matmul": matmul_jobs, "train": train_jobs, "decode": decode_jobs}[kind](work, setting)
