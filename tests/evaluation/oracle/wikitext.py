"""A small model, its tokenizer, pages in the manner of wikitext; no random number: every machine makes them alike.

The figures of lm-evaluation-harness on them are recorded in test_harness.py.
"""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WINDOW = 32
PAGES = (
    " = Robert <unk> = \n\n Robert <unk> is an English film , television and theatre actor . He had a guest @-@ "
    "starring role in 2000 , and was seen by 1 @,@ 200 @,@ 000 people . \n\n = = Career = = \n\n In 2006 , he starred "
    'in the play " Citizenship " ; it cost £ 3 @.@ 5 million ( of which half was lent ) . \n',
    ' = Café = \n\n The café \'s owner , Zoë , said : " naïve " . 日本語 \U0001f600 ! \n',
    " = A = \n",
)
DETOKENIZED = (
    " = Robert <unk> =\n\nRobert <unk> is an English film, television and theatre actor. He had a guest-starring role "
    'in 2000, and was seen by 1,200,000 people.\n\n== Career ==\n\nIn 2006, he starred in the play "Citizenship"; it '
    "cost £ 3.5 million (of which half was lent).\n",
    ' = Café =\n\nThe café\'s owner, Zoë, said: "naïve". 日本語 \U0001f600!\n',
    " = A =\n",
)  # what the harness's wikitext_detokenizer makes of them
_MERGES = (
    "Ġ t",
    "h e",
    "Ġt he",
    "i n",
    "e r",
    "Ġ a",
    "o n",
    "r e",
    "Ġ s",
    "Ġ =",
    "t h",
    "e n",
    "Ġ w",
    "e d",
    "l l",
    "a t",
)


def tokenizer(*, bos: bool = True, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level, of some merges.

    Args:
        bos: it has a beginning of sequence; else only an end.
        adds_bos: and puts it before a text by itself.
    """
    symbols = ["</s>", "<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = [tuple(merge.split(" ")) for merge in _MERGES]
    vocabulary = {name: number for number, name in enumerate([*symbols, *("".join(merge) for merge in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
        **({"bos_token": "<s>"} if bos else {}),
    )


def model(vocab_size: int = 2 + 256 + len(_MERGES)) -> Any:
    """A Llama whose weights are sines: far from uniform, the same wherever they are made."""
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=WINDOW,
            bos_token_id=1,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        for number, weight in enumerate(made.parameters(), start=1):
            if weight.ndim == 2:
                waves = torch.sin(torch.arange(weight.numel(), dtype=torch.float64) * (0.7 + number * 0.37))
                weight.copy_((waves * 0.3).reshape(weight.shape))
        made.lm_head.weight *= 2
    return made.eval()
