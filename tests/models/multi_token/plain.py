"""Multi-token prediction in plain loops: each document alone, rows cut and not padded, all logits, by positions."""

from itertools import pairwise

import torch
import torch.nn.functional as F


def runs(document):
    """(start, end) of each document of one row; padding is left out."""
    starts = [0, *(t for t in range(1, len(document)) if document[t] != document[t - 1]), len(document)]
    return [(a, b) for a, b in pairwise(starts) if document[a] >= 0]


def plain_states(model, ids):
    """Hidden states [T - k, D] of the main head and of each depth, and the head's weight of each, of ids [T] alone."""
    trunk = model.main.trunk(ids[None])
    embedded, state, normed = trunk.embedded, trunk.hidden, [trunk.hidden[0]]
    weight = model.main.lm_head.weight
    if model.isolated:
        embedded, state, weight = embedded.detach(), state.detach(), weight.detach()
    heads = [model.main.lm_head.weight]
    for k in range(1, model.depth + 1):
        T = len(ids) - k
        if T < 1:
            break
        if model.kind == "parallel":
            normed.append(state[0, :T])
            heads.append(model.mtp.heads[k - 1].weight)
            continue
        module = model.mtp.layers[0 if model.kind == "recurrent" else k - 1]
        rotation = None if trunk.arguments[0] is None else [table[:T] for table in trunk.arguments[0]]
        joined = torch.cat([module.enorm(embedded[:, k:]), module.hnorm(state[:, :-1])], -1)
        made = module.mtp_block(joined @ module.eh_proj.weight.T, rotation, None, None)
        normed.append(module.post_norm(made)[0])
        state = made if model.mtp.style.chain == "unnormed" else module.post_norm(made)
        heads.append(weight)
    return normed, heads


def plain_sums(model, ids, labels, weights, document, *, against=None):
    """(summed losses [1 + K], summed weights [1 + K]) of a batch [B, T].

    Args:
        against: of two rows of log-probabilities, the model's and a depth's: what is summed in place of the nll.
    """
    sums, counts = [0.0] * (1 + model.depth), [0.0] * (1 + model.depth)
    for row in range(len(ids)):
        for start, end in runs(document[row].tolist()):
            normed, heads = plain_states(model, ids[row, start:end])
            logp = [(states @ head.T).log_softmax(-1) for states, head in zip(normed, heads, strict=True)]
            for k, of_depth in enumerate(logp):
                for t in range(start, end - k - 1):
                    label, weight = labels[row, t + k + 1], float(weights[row, t + k + 1])
                    if label == -100 or weight == 0:
                        continue
                    found = of_depth[t - start]
                    loss = -found[label]
                    if k and against is not None:
                        loss = against(logp[0][t - start + k].detach(), found)
                    sums[k] = sums[k] + weight * loss
                    counts[k] += weight
    return sums, counts


def plain_total(sums, counts, coefficients):
    """Main loss and weighted depths, each over its own count; a depth that has none is 0."""
    return sum(c * s / n for c, s, n in zip(coefficients, sums, counts, strict=True) if n)


def forward_kl(teacher, student):
    return F.kl_div(student, teacher, reduction="sum", log_target=True)


def reverse_kl(teacher, student):
    return F.kl_div(teacher, student, reduction="sum", log_target=True)


def total_variation(teacher, student):
    return 1 - torch.minimum(teacher.exp(), student.exp()).sum()
