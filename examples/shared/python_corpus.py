"""The text of Python's own standard library, as numbers.

Each file is split into tokens by ``tokenize``: names, numbers, operators, short strings, ends of lines and changes of
indentation. Comments are left out, and one token stands for all long strings. A file's tokens are all in the training
part or all held out.
"""

import os
import random
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from keyword import iskeyword
from pathlib import Path
from typing import NamedTuple

import numpy as np

NEWLINE, INDENT, DEDENT, END = "\n", "<indent>", "<dedent>", "<end of file>"
LONG_STRING = '"..."'
UNKNOWN = "<unknown>"  # a token too rare to be in the vocabulary

LONGEST_STRING = 24  # characters, quotes included
FEWEST_OCCURRENCES = 2  # of a token of the vocabulary, in the training part
MOST_TOKENS = 1_500_000  # to read, which takes about five seconds
HELD_OUT = 0.1  # of the files

# What is installed besides, tests, and tables of characters that read like no other program.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__"}
WHITESPACE = {tokenize.NEWLINE: NEWLINE, tokenize.INDENT: INDENT, tokenize.DEDENT: DEDENT, tokenize.ENDMARKER: END}


class Corpus(NamedTuple):
    """Tokens by their ids, which are places in the vocabulary."""

    vocabulary: list[str]  # the most frequent first
    train: np.ndarray  # [tokens], int32, file after file
    held_out: np.ndarray  # [tokens], int32


def python_files(folder: Path) -> list[Path]:
    """All Python files in a folder and its subfolders, less those left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found += [Path(parent, name) for name in names if name.endswith(".py")]
    return sorted(found)


def tokens_of(lines: Iterable[str]) -> Iterator[str]:
    """Splits the lines of a program into tokens."""
    for token in tokenize.generate_tokens(iter(lines).__next__):
        if token.type in (tokenize.COMMENT, tokenize.NL):
            continue
        if token.type in WHITESPACE:
            yield WHITESPACE[token.type]
        elif "\n" in token.string or (len(token.string) > LONGEST_STRING and token.type != tokenize.NAME):
            yield LONG_STRING
        else:
            yield token.string


def read_file(path: Path) -> list[str]:
    """The tokens of a file; none if it is not one that this version of Python can read."""
    try:
        with tokenize.open(path) as file:
            return list(tokens_of(file))
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):  # ValueError: wrong characters
        return []


def make_vocabulary(tokens: Iterable[str]) -> list[str]:
    """All tokens that are not rare, and the one that stands for the others, the most frequent first."""
    counts = Counter(tokens)
    rare = [token for token, count in counts.items() if count < FEWEST_OCCURRENCES]
    for token in rare:
        counts[UNKNOWN] += counts.pop(token)
    counts[UNKNOWN] = max(counts[UNKNOWN], 1)
    return sorted(counts, key=lambda token: (-counts[token], token))


def load_corpus(seed: int, folder: Path | None = None, most_tokens: int = MOST_TOKENS) -> Corpus:
    """Reads the standard library, or another folder, in random order until there are enough tokens.

    Raises:
        FileNotFoundError: If the folder has too few Python files to hold one out.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    paths = python_files(folder)
    random.Random(seed).shuffle(paths)
    held_out_files = round(HELD_OUT * len(paths)) or 1
    held_out = read_files(paths[:held_out_files], round(HELD_OUT * most_tokens))
    train = read_files(paths[held_out_files:], most_tokens - len(held_out))
    if not held_out or not train:
        raise FileNotFoundError(f"the folder {str(folder)!r} has no text to train on and to hold out")
    vocabulary = make_vocabulary(train)
    return Corpus(vocabulary, ids_of(train, vocabulary), ids_of(held_out, vocabulary))


def read_files(paths: Iterable[Path], most_tokens: int) -> list[str]:
    """The tokens of one file after another, cut off where there are enough."""
    tokens: list[str] = []
    for path in paths:
        tokens += read_file(path)
        if len(tokens) >= most_tokens:
            break
    return tokens[:most_tokens]


def ids_of(tokens: Iterable[str], vocabulary: list[str]) -> np.ndarray:
    """The place of each token in the vocabulary, int32."""
    places = {token: place for place, token in enumerate(vocabulary)}
    unknown = places[UNKNOWN]
    return np.array([places.get(token, unknown) for token in tokens], np.int32)


def text_of(tokens: Iterable[str]) -> str:
    """Writes tokens as a program, with spaces about where people put them."""
    text, depth, last = "", 0, NEWLINE
    for token in tokens:
        if token in (NEWLINE, END):
            text += "\n"
        elif token in (INDENT, DEDENT):
            depth = max(0, depth + (1 if token == INDENT else -1))
        elif text[-1:] in ("", "\n"):
            text += "    " * depth + token
        else:
            calls = token in ("(", "[") and (last in (")", "]") or (last.isidentifier() and not iskeyword(last)))
            close = calls or token in ")]},:;." or last in ("(", "[", "{", ".", "@", "~")
            text += token if close else " " + token
        last = token
    return text
