"""Common mistakes in a tokenizer, each as a change to one line; the test suite must detect every one."""

from mutation import Mutant

PARITY = "test_parity.py::test_trained_ranks_give_the_ids_of_tiktoken"
SPLIT = "test_parity.py::test_a_built_in_pattern_splits_as_that_of_tiktoken"
ADDED = "test_real_files.py::test_added_tokens_give_the_ids_of_tokenizers"
STEPS = "test_real_files.py::test_steps_around_bpe_give_the_ids_of_tokenizers"
OPTIONS = "test_training_options.py"
POINTS = "test_parity.py::test_splits_of_code_points_whose_class_depends_on_the_unicode_version"
ALGORITHM = "test_training.py::test_algorithm_1_of_the_paper"
SPECIAL = "test_special.py"
TABLE = "test_pretoken_table.py"

MUTANTS = [
    Mutant(
        "merge.py", "i = pair_ranks.index(best)", "i = len(pair_ranks) - 1 - pair_ranks[::-1].index(best)",
        "of equal pairs the rightmost is merged first",
        "test_decoding.py::test_of_equal_pairs_the_leftmost_is_merged_first",
    ),
    Mutant(
        "merge.py", "if middle == 0 or middle >= stop or end[middle] != stop:", "if middle == 0:",
        "the heap merges outdated pairs", "test_decoding.py::test_heap_and_scan_give_the_same_merges",
    ),
    Mutant(
        "merge.py", "push(before[start], stop)", "pass", "the left neighbor of a merge is not updated",
        "test_decoding.py::test_heap_and_scan_give_the_same_merges",
    ),
    Mutant(
        "merge.py", "for candidate in dropped:", "for candidate in ():",
        "dropout drops a merge for the rest of the word, not for one step",
        "test_decoding.py::test_dropout_samples_each_split_with_the_probability_of_algorithm_1",
    ),
    Mutant(
        "pretokenize.py", "if not stand_ins.keys().isdisjoint(map(ord, set(text))):", "if False:",
        "letters as the installed regex classifies them", POINTS,
    ),
    Mutant(
        "pretokenize.py", r"ll|ve|re)| ?\p{L}+|", r"ll|ve|re)|\p{L}+|", "a word does not take the space before it", SPLIT,
    ),
    Mutant(
        "pretokenize.py", r"|\s+(?![\s\S])|\s*[\r\n]", r"|\s*[\r\n]",
        "cl100k as first published, not as in tiktoken", SPLIT,
    ),
    Mutant(
        "pretokenize.py", "cuts += (match.start(), match.end())", "cuts += (match.end(),)",
        "unmatched text is attached to the next pre-token", "test_parity.py::test_text_that_a_pattern_does_not_match_is_kept",
    ),
    Mutant(
        "pretokenize.py", "0x21 <= data[offset - 1] < 0x7F or", "data[offset - 1] < 0x7F or",
        "files are cut inside a run of spaces", "test_files.py",
    ),
    Mutant(
        "pretokenize.py", "if not text[offset - 1].isspace():", "if True:",
        "texts are cut inside a run of spaces", "test_files.py",
    ),
    Mutant("training/corpus.py", "if name in around:", "if False:", "files are cut inside a special token", "test_files.py"),
    Mutant(
        "training/merges.py", "count_of[symbol[h], left] -= weight", "pass",
        "the pair before a merge keeps its count", ALGORITHM,
    ),
    Mutant(
        "training/merges.py", "self.weight += [count] * len(word)", "self.weight += [1] * len(word)",
        "a merge changes counts by one, not by the frequency of the word", ALGORITHM,
    ),
    Mutant(
        "training/merges.py", 'current_tie = key(pair) if ties == "first" else tie', "current_tie = tie",
        "the first position of a pair is not updated", ALGORITHM,
    ),
    Mutant(
        "training/merges.py", "return lambda pair: pair", "return lambda pair: (-pair[0], -pair[1])",
        "ties by ids: the largest instead of the smallest", ALGORITHM,
    ),
    Mutant(
        "training/merges.py", '.translate(reverse) + "\\u0100"', ".translate(reverse)",
        "ties by bytes: a prefix counts as greater", ALGORITHM,
    ),
    Mutant(
        "training/merges.py", "if count < min_frequency or", "if count <= min_frequency or",
        "min_frequency: pairs that reach it are not merged", "test_training.py::test_training_ends_at_min_frequency_or_without_pairs",
    ),
    Mutant(
        "training/api.py", "special.assign_ids(names, BYTES + len(merges))",
        "special.assign_ids(names, BYTES + num_merges)",
        "special tokens are numbered as if no pairs were missing",
        "test_training.py::test_special_tokens_are_cut_out_of_the_texts",
    ),
    Mutant(
        "training/api.py", '(name is None and ties == "ids")', "False", "ties by ids with another order of bytes",
        "test_training.py::test_vocabulary_equals_hugging_face_on_python_documentation",
    ),
    Mutant(
        "training/count.py", "mine.get(pretoken, 0) + count", "max(mine.get(pretoken, 0), count)", "counts of parts do not add up",
        "test_training.py::test_counts_of_parts_add_up",
    ),
    Mutant(
        "byte_unicode.py", "*range(0xAE, 0x100)", "*range(0xAD, 0x100)", "the soft hyphen as its own character",
        "test_decoding.py::test_printable_bytes_equal_those_of_gpt2_and_round_trip",
    ),
    Mutant("special.py", "key=len, reverse=True", "key=len", "the shorter special token is found first", SPECIAL),
    Mutant(
        "special.py", 'known - allowed if disallowed_special == "all"', 'frozenset() if disallowed_special == "all"',
        "special tokens are encoded as text by default", SPECIAL,
    ),
    Mutant(
        "encoding.py", "ids += self.encode_ordinary(part.text)",
        'ids += self.encode(part.text, allowed_special="all")',
        "untrusted text can inject special tokens", SPECIAL,
    ),
    Mutant(
        "decoding.py", "max(0, length - (0x80 <= token[0] < 0xC0))", "length",
        "a token that starts inside a character gets the next offset",
        "test_decoding.py::test_any_ids_decode_as_in_tiktoken",
    ),
    Mutant(
        "decoding.py", 'getincrementaldecoder("utf-8")(errors)', 'getincrementaldecoder("latin-1")(errors)',
        "a stream does not wait for complete characters",
        "test_decoding.py::test_a_stream_returns_complete_characters_only",
    ),
    Mutant(
        "token_file.py", "vocab_size <= 1 << 16", "vocab_size <= 1 << 17",
        "ids above 65,535 are cut to two bytes", "test_files.py",
    ),
    Mutant(
        "vocabulary.py", "byte_pair_merge(token, ranks, below=rank)", "byte_pair_merge(token, ranks)",
        "a token counts as one of its own parts",
        "test_formats.py::test_merges_are_recovered_from_ranks",
    ),
    Mutant(
        "formats/huggingface.py", '{**_BYTE_LEVEL, "use_regex": True}', "_BYTE_LEVEL",
        "the exported file lacks its pattern",
        "test_formats.py::test_hugging_face_loads_exported_files_and_gives_the_same_ids",
    ),
    Mutant(
        "engines/python.py", "ids = merged_ids(pretoken.encode(), self.ranks)",
        "ids = tuple(self.ranks[t] for t in byte_pair_merge(pretoken.encode(), self.ranks))",
        "a pre-token that is a token is merged instead of looked up",
        "test_formats.py::test_a_vocabulary_that_merges_cannot_express_is_saved_and_exported",
    ),
    Mutant(
        "added_tokens.py", "sorted(tokens, key=len, reverse=True)", "sorted(tokens, key=len)",
        "of added tokens at one position the shortest is found", ADDED,
    ),
    Mutant(
        "added_tokens.py", "start = len(text[:start].rstrip(_SPACES))", "start = len(text[:start].rstrip())",
        "lstrip takes control characters that Python counts as spaces", ADDED,
    ),
    Mutant(
        "added_tokens.py", "contents = [normalize(t.content) for t in tokens if t.normalized]",
        "normalize = str; contents = [t.content for t in tokens if t.normalized]",
        "added tokens are not normalized", ADDED,
    ),
    Mutant(
        "normalization.py", "part if i % 2 else unicodedata.normalize(form, part)",
        "unicodedata.normalize(form, part)", "characters are normalized that tokenizers does not know",
        "test_real_files.py::test_normal_forms_are_those_of_tokenizers",
    ),
    Mutant(
        "pretokenizers.py", 'joins = is_match == before if behavior == "Contiguous" else is_match and not before',
        "joins = is_match and not before", "adjacent delimiters are not joined", STEPS,
    ),
    Mutant(
        "pretokenizers.py", 'if self.add_prefix_space and not text.startswith(" "):', "if self.add_prefix_space:",
        "a second space is put before a text that starts with one", STEPS,
    ),
    Mutant(
        "pipeline.py", "return [*self.prefix_ids, *ids, *self.suffix_ids]",
        "return [*self.suffix_ids, *ids, *self.prefix_ids]", "the template puts the end token first",
        "test_real_files.py::test_templates_give_the_ids_of_tokenizers",
    ),
    Mutant(
        "formats/huggingface.py", "order = None if formed == sorted(formed) else", "order = None if formed else",
        "merges are applied in the order of ids", ADDED,
    ),
    Mutant(
        "pattern_syntax.py", 'anchors[character][self.dialect == "tokenizers"]', "anchors[character][0]",
        "`$` is the end of the text in tokenizers, too", STEPS,
    ),
    Mutant(
        "encoding.py", "for name, _ in steps.special_in(text):", "for name, _ in ():",
        "disallowed special tokens are encoded as text",
        "test_real_files.py::test_special_tokens_in_untrusted_text_are_refused_or_text",
    ),
    Mutant(
        "training/merges.py", "corpus.token_length(pair) > longest", "corpus.token_length(pair) >= longest",
        "max_token_length is exclusive", OPTIONS,
    ),
    Mutant(
        "training/alphabet.py", "key=lambda item: (-item[1], item[0])", "key=lambda item: (item[1], item[0])",
        "the rarest bytes are kept", OPTIONS,
    ),
    Mutant(
        "training/jsonl.py", 'lines, rest = [*lines, rest], b""', 'rest = b""',
        "a last line without a line feed is lost", OPTIONS,
    ),
    Mutant(
        "training/corpus.py", "if self.frame is not None:", "if False:", "a .zst file may be cut off", OPTIONS,
    ),
    Mutant(
        "compat/tiktoken.py", "if last and self._is_space(ids[-last]):", "if False:",
        "spaces before broken UTF-8 stay apart",
        "test_tiktoken_interface.py::test_broken_utf8_is_encoded_as_in_tiktoken",
    ),
    Mutant(
        "fast/encoder.py", "while count < 0:", "if count < 0:", "a table that another thread has filled ends a text",
        TABLE,
    ),
    Mutant(
        "fast/encoder.py", "if table is None or not table.usable:", "if table is None:",
        "a forked process uses its parent's table", TABLE,
    ),
    Mutant(
        "fast/pretoken_table.py", "len(_large) < MAX_LARGE", "True", "every table may become large", TABLE,
    ),
    Mutant(
        "fast/kernels/encode.py", "state[AT_ID], state[AT_TEXT_ID] = uint64(at)",
        "state[AT_ID], state[AT_TEXT_ID] = uint64(0)",
        "the ids before a table is replaced are lost", TABLE,
    ),
]  # fmt: skip
