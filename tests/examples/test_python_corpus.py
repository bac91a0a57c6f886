"""The text that the examples read."""

import pytest
from shared import python_corpus

PROGRAM = '''\
"""What this is for, at some length."""
import os  # a comment

def name(path):
    if path == "x" or "a string that is far too long":

        return os.name[1.5]
'''

TOKENS = [
    *('"..."', "\n", "import", "os", "\n"),
    *("def", "name", "(", "path", ")", ":", "\n", "<indent>"),
    *("if", "path", "==", '"x"', "or", '"..."', ":", "\n", "<indent>"),
    *("return", "os", ".", "name", "[", "1.5", "]", "\n", "<dedent>", "<dedent>", "<end of file>"),
]


class TestTokens:
    def test_comments_and_long_strings_go(self):
        assert list(python_corpus.tokens_of(PROGRAM.splitlines(keepends=True))) == TOKENS

    def test_a_program_reads_as_it_was_written(self):
        assert python_corpus.text_of(TOKENS) == (
            '"..."\nimport os\ndef name(path):\n    if path == "x" or "...":\n        return os.name[1.5]\n\n'
        )

    @pytest.mark.parametrize(
        "content",
        [b"x = '''", b"x = (", b"  x\n y\n", b"x = '\xff'", b"# coding: klingon\n", b"\xef\xbb\xbf# coding: latin-1\n"],
    )
    def test_a_file_that_is_no_program_has_none(self, content, tmp_path):
        path = tmp_path / "bad.py"
        path.write_bytes(content)
        assert python_corpus.read_file(path) == []

    def test_a_declared_encoding_is_used(self, tmp_path):
        path = tmp_path / "latin.py"
        path.write_bytes(b"# coding: latin-1\n'\xff'\n")
        assert python_corpus.read_file(path) == ["'\xff'", "\n", "<end of file>"]


class TestVocabulary:
    def test_frequent_tokens_come_first_and_rare_ones_together(self):
        tokens = ["a", "b", "b", "c", "d", "e", "b", "f", "f"]
        vocabulary = python_corpus.make_vocabulary(tokens)
        assert vocabulary == ["<unknown>", "b", "f"]
        assert python_corpus.ids_of(tokens, vocabulary).tolist() == [0, 1, 1, 0, 0, 0, 1, 2, 2]

    def test_there_is_always_an_unknown_token(self):
        assert python_corpus.make_vocabulary(["a", "a"]) == ["a", "<unknown>"]


class TestCorpus:
    @pytest.fixture
    def folder(self, tmp_path):
        for number in range(10):
            (tmp_path / f"file{number}.py").write_text(f"x = {number}{number}\n" * 20)
        for name in ("tests", "site-packages"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "left_out.py").write_text("left_out = left_out\n")
        (tmp_path / "text.txt").write_text("text text\n")
        return tmp_path

    def test_files_are_in_one_part_only(self, folder):
        corpus = python_corpus.load_corpus(0, folder)
        assert (len(corpus.train), len(corpus.held_out)) == (9 * 81, 81)
        numbers = [
            {token for token in map(corpus.vocabulary.__getitem__, part) if token.isdigit()} for part in corpus[1:]
        ]
        assert len(numbers[0]) == 9
        assert numbers[1] == set()  # the vocabulary is that of the training part
        assert (corpus.held_out == corpus.vocabulary.index("<unknown>")).sum() == 20
        assert "left_out" not in corpus.vocabulary

    def test_the_seed_chooses_the_file_that_is_held_out(self, folder):
        vocabularies = {tuple(python_corpus.load_corpus(seed, folder).vocabulary) for seed in range(5)}
        assert len(vocabularies) > 1
        a, b = (python_corpus.load_corpus(3, folder) for _ in range(2))
        assert a.vocabulary == b.vocabulary
        assert (a.train == b.train).all()

    def test_no_more_is_read_than_asked_for(self, folder):
        corpus = python_corpus.load_corpus(0, folder, most_tokens=200)
        assert (len(corpus.train), len(corpus.held_out)) == (180, 20)

    def test_a_folder_without_programs_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="has no text to train on"):
            python_corpus.load_corpus(0, tmp_path)
