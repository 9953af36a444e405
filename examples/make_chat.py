"""Conversations to try `lmhead train` with, made here: python examples/make_chat.py chat.jsonl [--count 4000]

Questions for capitals, sums and opposites in several wordings, of one or two turns, some with a system prompt that
decides how the answer is worded. No two conversations are equal; one seed always gives the same file.
"""

import argparse
import json
import random
from pathlib import Path

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Germany": "Berlin",
    "Austria": "Vienna", "Poland": "Warsaw", "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Ireland": "Dublin", "Hungary": "Budapest", "Egypt": "Cairo",
    "Kenya": "Nairobi", "Morocco": "Rabat", "Ghana": "Accra", "Japan": "Tokyo", "China": "Beijing",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Nepal": "Kathmandu", "Iran": "Tehran", "Iraq": "Baghdad",
    "Peru": "Lima", "Chile": "Santiago", "Cuba": "Havana", "Canada": "Ottawa", "Mexico": "Mexico City",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "light": "dark", "early": "late", "open": "closed",
    "happy": "sad", "hard": "soft", "wet": "dry", "full": "empty", "young": "old", "near": "far",
}  # fmt: skip
CAPITAL_QUESTIONS = (
    "What is the capital of {}?", "Which city is the capital of {}?", "Tell me the capital of {}.",
    "capital of {}?", "Do you know the capital of {}?", "I forgot the capital of {}. What is it?",
)  # fmt: skip
SUM_QUESTIONS = ("What is {} plus {}?", "How much is {} + {}?", "Add {} and {}.", "{} + {} = ?")
OPPOSITE_QUESTIONS = ("What is the opposite of {}?", "Give me the opposite of {}.", "{} is the opposite of what?")
BRIEF = ("Answer in one word.", "Be brief.", "One word only, please.")
HELPFUL = ("You are a helpful assistant.", "Answer in a full sentence.")

Question = tuple[str, str, str]  # as it is asked, the answer in brief, the answer in a sentence


def questions() -> list[Question]:
    """Every question in every wording."""
    found: list[Question] = []
    for country, city in CAPITALS.items():
        found += [(ask.format(country), city, f"The capital of {country} is {city}.") for ask in CAPITAL_QUESTIONS]
    for a in range(10):
        for b in range(10):
            found += [(ask.format(a, b), str(a + b), f"{a} plus {b} is {a + b}.") for ask in SUM_QUESTIONS]
    for one, other in (*OPPOSITES.items(), *((value, key) for key, value in OPPOSITES.items())):
        found += [(ask.format(one), other, f"The opposite of {one} is {other}.") for ask in OPPOSITE_QUESTIONS]
    return found


def conversation(draw: random.Random, asked: list[Question]) -> list[dict[str, str]]:
    """One to two questions with their answers, after a system prompt in three of four."""
    system = draw.choice((None, draw.choice(BRIEF), draw.choice(HELPFUL), draw.choice(BRIEF)))
    messages = [] if system is None else [{"role": "system", "content": system}]
    for question, brief, sentence in draw.sample(asked, draw.choice((1, 1, 2))):
        answer = brief if system in BRIEF else sentence
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, asked = random.Random(given.seed), questions()
    lines: dict[str, None] = {}
    while len(lines) < given.count:
        lines[json.dumps({"messages": conversation(draw, asked)})] = None
    given.file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
