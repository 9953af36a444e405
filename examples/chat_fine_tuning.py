"""Fine-tuning on conversations: python examples/chat_fine_tuning.py [--model Qwen/Qwen3-0.6B --lora --data chat.jsonl]

Only what the assistant says is learnt: `ChatLabeler` finds its tokens by the model's own chat template, `pack` puts
several conversations into a row, each for itself, and the loss makes no logits. The first conversation is printed
token by token, so that one sees what is trained before anything is. Without `--model` a small Llama is made in place,
which knows nothing and needs all of its weights (no `--lora`). Without `--data` it learns a few capitals.
Needs pip install "lmhead[hf]".
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import lmhead
from lmhead.inspection.token_table import token_table

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima", "Japan": "Tokyo", "Kenya": "Nairobi"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Conversation = list[dict[str, str]]


def make_model(folder: str, chats: list[Conversation]) -> str:
    """A small Llama with a tokenizer made of the chats and a chat template, saved as any other is."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet, control = pre_tokenizers.ByteLevel.alphabet(), ["<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=control, show_progress=False
    )
    texts = [text for chat in chats for message in chat for text in (message["role"], message["content"])]
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", chat_template=TEMPLATE)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2)
    config.num_attention_heads = config.num_key_value_heads = 4
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def conversations(file: Path | None) -> list[Conversation]:
    """Of a JSONL file with `messages` in each line, or made here."""
    if file is not None:
        lines = file.read_text(encoding="utf-8").split("\n")
        return [json.loads(line)["messages"] for line in lines if line.strip()]
    asked = [(f"The capital of {country}?", f"{city}.") for country, city in CAPITALS.items()]
    return [[{"role": "user", "content": ask}, {"role": "assistant", "content": answer}] for ask, answer in asked]


def main() -> None:
    """Label, show, pack, train, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder, or a name on the Hub")
    parser.add_argument("--data", type=Path, help="a JSONL file with messages in each line")
    parser.add_argument("--lora", action="store_true", help="train adapters of rank 8 beside frozen weights")
    parser.add_argument("--steps", type=int, default=150, help="of training, at least one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if given.steps < 1:
        parser.error(f"--steps must be >= 1, got {given.steps}")
    torch.manual_seed(given.seed)
    chats = conversations(given.data)
    with TemporaryDirectory() as folder:
        source = given.model or make_model(folder, chats)
        tokenizer = AutoTokenizer.from_pretrained(source)
        how = (
            {"lora": lmhead.LoraOptions(rank=8)} if given.lora else {"dtype": torch.float32}
        )  # 16 bits round steps away
        model = lmhead.PretrainedCausalLM.load(source, device=given.device, **how)
    label = lmhead.ChatLabeler(tokenizer)
    examples = [label(chat) for chat in chats]
    print(token_table(examples[0], lambda ids: str(tokenizer.decode(ids))))
    rows = lmhead.pack(examples, length=256 if given.model is None else 1024, overflow="truncate", untrained="drop")
    print(rows.report)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = 3e-3 if given.model is None else 2e-4 if given.lora else 1e-5
    optimizer = torch.optim.AdamW(weights, lr=rate)
    model.train()
    for step in range(given.steps):
        batch = rows.take(2 * step, 2).to(given.device)
        loss = model.loss(batch.ids, batch.targets, document=batch.document)
        if step in (0, given.steps - 1):
            print(f"step {step + 1}: loss {loss.item():.4f} nats per learnt token")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    prompt = tokenizer.apply_chat_template(chats[0][:1], add_generation_prompt=True, tokenize=False)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    answer = list(lmhead.sample(model, ids, max_new_tokens=40, temperature=0, stop_ids=[tokenizer.eos_token_id]))
    print(f"{chats[0][0]['content']} -> {tokenizer.decode(answer)}")


if __name__ == "__main__":
    main()
