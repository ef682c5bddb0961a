"""GPT-2 and Llama in plain PyTorch, from the same config records that ours takes. Random weights: speed is what counts."""

import math

import torch
import torch.nn.functional as F
from torch import nn

FUSED = hasattr(F, "scaled_dot_product_attention")


def attend(q, k, v, causal):
    """q [B, H, T, D], k and v [B, G, S, D]: PyTorch's fused attention where it has one, else scores in memory."""
    if k.size(1) != q.size(1):
        k, v = (x.repeat_interleave(q.size(1) // x.size(1), dim=1) for x in (k, v))
    if FUSED:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(q.size(-1)))
    if causal:
        T = q.size(2)
        scores = scores + torch.full((T, T), -math.inf, device=q.device).triu(1)
    return scores.softmax(-1) @ v


class Cache:
    """Keys and values of a layer in memory that is there from the start."""

    def __init__(self, rows, heads, length, dim, like):
        self.k, self.v = (like.new_zeros(rows, heads, length, dim) for _ in range(2))

    def extend(self, k, v, at):
        end = at + k.size(2)
        self.k[:, :, at:end] = k
        self.v[:, :, at:end] = v
        return self.k[:, :, :end], self.v[:, :, :end]


class Gpt2Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        C = c["n_embd"]
        self.heads = c["n_head"]
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.fc, self.out = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x, cache, at):
        B, T, C = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extend(k, v, at)
        y = attend(q, k, v, causal=T > 1).transpose(1, 2).reshape(B, T, C)
        x = x + self.proj(y)
        return x + self.out(gelu(self.fc(self.ln_2(x))))


def gelu(x):
    return F.gelu(x, approximate="tanh")


class Gpt2(nn.Module):
    def __init__(self, c):
        super().__init__()
        C = c["n_embd"]
        self.wte, self.wpe = nn.Embedding(c["vocab_size"], C), nn.Embedding(c["n_positions"], C)
        self.blocks = nn.ModuleList(Gpt2Block(c) for _ in range(c["n_layer"]))
        self.ln = nn.LayerNorm(C)
        self.kv = (c["n_head"], C // c["n_head"])
        initialise(self)

    def forward(self, ids, caches=None, at=0):
        x = self.wte(ids) + self.wpe(torch.arange(at, at + ids.size(1), device=ids.device))
        for i, block in enumerate(self.blocks):
            x = block(x, caches and caches[i], at)
        return self.ln(x)

    def logits(self, hidden):
        return hidden @ self.wte.weight.t()


class RmsNorm(nn.Module):
    def __init__(self, C, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(C)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class LlamaBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        C, inner, eps = c["hidden_size"], c["intermediate_size"], c["rms_norm_eps"]
        self.H, self.G = c["num_attention_heads"], c["num_key_value_heads"]
        self.D = C // self.H
        self.n1, self.n2 = RmsNorm(C, eps), RmsNorm(C, eps)
        self.qkv = nn.Linear(C, (self.H + 2 * self.G) * self.D, bias=False)
        self.o = nn.Linear(C, C, bias=False)
        self.gate_up = nn.Linear(C, 2 * inner, bias=False)
        self.down = nn.Linear(inner, C, bias=False)

    def forward(self, x, cache, at, cos, sin):
        B, T, C = x.shape
        H, G, D = self.H, self.G, self.D
        heads = self.qkv(self.n1(x)).view(B, T, H + 2 * G, D).transpose(1, 2)
        q, k, v = heads.split((H, G, G), dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.extend(k, v, at)
        y = attend(q, k, v, causal=T > 1).transpose(1, 2).reshape(B, T, C)
        x = x + self.o(y)
        gate, up = self.gate_up(self.n2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        C = c["hidden_size"]
        self.embed = nn.Embedding(c["vocab_size"], C)
        self.blocks = nn.ModuleList(LlamaBlock(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RmsNorm(C, c["rms_norm_eps"])
        D = C // c["num_attention_heads"]
        self.kv = (c["num_key_value_heads"], D)
        angles = torch.outer(
            torch.arange(c["max_position_embeddings"]).float(), 10000.0 ** (-torch.arange(0, D, 2).float() / D)
        )
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        initialise(self)

    def forward(self, ids, caches=None, at=0):
        end = at + ids.size(1)
        x, cos, sin = self.embed(ids), self.cos[at:end], self.sin[at:end]
        for i, block in enumerate(self.blocks):
            x = block(x, caches and caches[i], at, cos, sin)
        return self.norm(x)

    def logits(self, hidden):
        return hidden @ self.embed.weight.t()


def initialise(model):
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)


def build(config):
    return (Gpt2 if config["model_type"] == "gpt2" else Llama)(config)


def caches_of(model, rows, length):
    heads, dim = model.kv
    like = next(model.parameters())
    return [Cache(rows, heads, length, dim, like) for _ in model.blocks]
