"""Constants that the kernels and the Python side share: indices of state words, sizes and status codes."""

# Patterns, as the kernels number them. GIVEN_ENDS: the ends of the pre-tokens are passed with the text.
GIVEN_ENDS, GPT2, CL100K, O200K = range(4)
PATTERNS = {"gpt2": GPT2, "cl100k": CL100K, "o200k": O200K}

# `facts`: what depends on the vocabulary only.
# SPLIT_UNJOINABLE: whether pre-tokens may be split where no token joins two bytes. UNMERGED: number of long tokens
# that no merge forms.
PAIR_BITS, TOKENS, SPLIT_UNJOINABLE, UNMERGED, N_FACTS = range(5)

# `state` of a call: the size of its buffers, whether its block is ASCII, and where `encode` goes on when it is called
# again: the number of the text, the position, the pre-token (if their ends are given), the number of ids, and that
# before the text
CAPACITY, ASCII, AT_TEXT, AT_POSITION, AT_PRETOKEN, AT_ID, AT_TEXT_ID, N_STATE = range(8)

# What the kernel `encode` returns, if not a number of ids: what it needs before it can go on
NEEDS_BUFFERS, NEEDS_TABLE = -1, -2

# `filled`: what the table of known pre-tokens holds. Threads that store write the first words, one at a time (WRITING);
# the size of the table has a cache line of its own, because all threads read it.
CACHED, POOLED, ARENA_FILLED, LONG_CACHED, WRITING = range(5)
BITS, N_FILLED = 8, 16

# `state` of counting: CAPACITY as above, and these
ARENA_USED, POSITION, WORDS, WORD_ROOM, ARENA_ROOM, TABLE_BITS, N_COUNT_STATE = range(N_STATE, N_STATE + 7)

# What the kernel `count` returns: done, or what must grow before it can go on
COUNT_DONE, COUNT_NEEDS_BUFFERS, COUNT_NEEDS_WORDS, COUNT_NEEDS_ARENA, COUNT_NEEDS_TABLE = range(5)

# `state` of training
MERGES, PAIRS, PAIR_ROOM, TABLE_SIZE, POSITIONS, POSITION_ROOM, WAITING, LEAST, LONGEST_TOKEN, N_TRAIN_STATE = range(10)
KEY, COUNT, NEXT, LAST = range(4)  # a pair: left << 32 | right, occurrences, next and end of its list of positions
FIRST, IDS, BYTES = range(3)  # tie-breaking rules

# What the kernel `train` returns
TRAIN_DONE, TRAIN_NEEDS_PAIRS, TRAIN_NEEDS_POSITIONS = range(3)

BLOCK = 1 << 14  # bytes that are split, looked up and written at a time: they stay in the L1 and L2 caches
PADDING = 64  # zeros after a block, so that reading ahead needs no bounds check
BATCH = 256  # pre-tokens that are looked up together, so that their memory accesses overlap

LARGE_BITS = 19  # log2 of the number of slots (32 bytes each) for pre-tokens of at most 15 bytes, in a large table
SMALL_BITS = 17  # the same in the table that a tokenizer starts with, if its vocabulary is not larger
# The other parts of a table with 2**bits slots: slots for pre-tokens of 16 to LONGEST bytes, room for the ids of
# pre-tokens with more than four, and for the bytes of long ones
LONG_LESS, POOL_MORE, ARENA_MORE = 4, 1, 2  # 2**(bits - 4) slots, 2**(bits + 1) ids, 2**(bits + 2) bytes
LONGEST = 256  # longer pre-tokens are not stored

ID_BITS = 21  # ids are below 2**21 - 1, so that two of them and a result fit into one word
SHORT = 64  # pre-tokens up to this length are merged by scanning, longer ones with a heap
