"""A policy gradient in the manner of GRPO, on a task that takes seconds: python examples/grpo_logprobs.py [--steps 60]

The policy reads a digit and is to count on from it: 7 -> 8 9 0. Nobody shows it how: it draws a group of answers to
each prompt, and an answer's advantage is its reward, beside the others of its group. `lmhead.token_logprobs` gives the
log-probability of each drawn token, differentiable, without logits; the ratio to the policy that drew it is clipped.
In place of GRPO's KL to a reference policy an entropy bonus keeps it trying. All answers are of one length here: where
they are not, ignore what follows an answer's end (targets of -100), and choose the mean, of each answer first (GRPO) or
over all tokens (DAPO). For a model of transformers: hidden states are `model.base_model(ids).last_hidden_state`, the
weight is `model.get_output_embeddings().weight`; give `temperature=` where tokens are drawn at another one than 1.
"""

import argparse

import torch
from torch import Tensor

import lmhead

V, ANSWER, GROUP = 10, 3, 32  # digits; tokens of an answer; answers to a prompt
CLIP, ENTROPY, UPDATES = 0.2, 0.03, 2  # of the ratio; what an entropy of a nat is worth; steps for what was drawn once


@torch.no_grad()
def draw_answers(policy: lmhead.GPT, prompts: Tensor) -> Tensor:
    """[B, 1 + ANSWER]: each prompt and what the policy drew behind it, at temperature 1."""
    ids = prompts
    for _ in range(ANSWER):
        probabilities = policy.lm_head(policy.hidden(ids)[:, -1]).softmax(-1)
        ids = torch.cat([ids, torch.multinomial(probabilities, 1)], dim=1)
    return ids


def rewards(ids: Tensor) -> Tensor:
    """[B]: the share of an answer's tokens that count on from the prompt."""
    right = (ids[:, :1] + torch.arange(1, ANSWER + 1, device=ids.device)) % V
    return (ids[:, 1:] == right).float().mean(1)


def advantages(reward: Tensor) -> Tensor:
    """[B]: each reward beside those of its group, in its group's standard deviations."""
    groups = reward.view(-1, GROUP)
    beside = groups - groups.mean(1, keepdim=True)
    return (beside / (groups.std(1, keepdim=True) + 1e-4)).flatten()


def logprobs(policy: lmhead.GPT, ids: Tensor) -> lmhead.TokenLogprobs:
    """[B, ANSWER]: of the tokens that were drawn; the token at t + 1 was drawn from the hidden state at t."""
    hidden = policy.hidden(ids)[:, :-1]
    return lmhead.token_logprobs(hidden, policy.lm_head.weight, ids[:, 1:], entropy=True)


def clipped_objective(new: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
    """[B, ANSWER]: what a token adds; a ratio that is beyond the clip already gains nothing more."""
    ratio = (new - old).exp()
    return torch.minimum(ratio * advantage[:, None], ratio.clamp(1 - CLIP, 1 + CLIP) * advantage[:, None])


def train(policy: lmhead.GPT, steps: int) -> list[float]:
    """The mean reward of each step's answers."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    prompts = torch.arange(V, device=policy.lm_head.weight.device).repeat_interleave(GROUP)[:, None]
    history: list[float] = []
    for step in range(1, steps + 1):
        ids = draw_answers(policy, prompts)
        reward = rewards(ids)
        advantage = advantages(reward)
        with torch.no_grad():
            old = logprobs(policy, ids).logprobs
        for _ in range(UPDATES):
            new = logprobs(policy, ids)
            assert new.entropy is not None
            loss = -(clipped_objective(new.logprobs, old, advantage) + ENTROPY * new.entropy).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append(reward.mean().item())
        if step == 1 or step % 20 == 0:
            print(f"step {step}: mean reward {history[-1]:.3f}")
    return history


def main() -> None:
    """Train a policy, and let it count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60, help="of training, at least one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if given.steps < 1:
        parser.error(f"--steps must be >= 1, got {given.steps}")
    torch.manual_seed(given.seed)
    policy = lmhead.GPT(V, embed_dim=32, num_heads=2, num_layers=1, max_seq_len=1 + ANSWER, init="gpt2")
    policy.to(given.device)
    train(policy, given.steps)
    answer = list(lmhead.sample(policy, [7], max_new_tokens=ANSWER, temperature=0))
    print(f"7 -> {' '.join(map(str, answer))}")


if __name__ == "__main__":
    main()
