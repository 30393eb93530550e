"""Names of the numbers that the kernels and the Python side share."""

# Patterns, as the kernels number them. GIVEN: the ends of the pieces come with the text.
GIVEN, GPT2, CL100K, O200K = range(4)
PATTERNS = {"gpt2": GPT2, "cl100k": CL100K, "o200k": O200K}

# `facts`: what depends on the vocabulary only
PAIR_BITS, TOKENS, DIVIDE, ODD, N_FACTS = range(5)

# `state`: what a thread's cache holds, and how large its scratch is
CACHED, POOLED, ARENA_USED, LONG_CACHED, CAPACITY, WARM, ASCII, N_STATE = range(8)

# `state` of counting: ARENA_USED and CAPACITY as above, and
POSITION, WORDS, WORD_ROOM, ARENA_ROOM, TABLE_BITS, N_COUNT_STATE = range(N_STATE, N_STATE + 6)

# `state` of training
MERGES, PAIRS, PAIR_ROOM, TABLE_SIZE, PLACES, PLACE_ROOM, WAITING, LEAST, N_TRAIN_STATE = range(9)
KEY, COUNT, NEXT, LAST = range(4)  # a pair: left << 32 | right, occurrences, where its list of places goes on, and ends
FIRST, IDS, BYTES = range(3)  # the rules for ties

BLOCK = 1 << 14  # bytes that are split, looked up and written at a time: they stay in the innermost caches
PADDING = 64  # zeros after a block, so that reading ahead needs no check
BATCH = 256  # pieces that are looked up together, so that their waits for memory overlap

CACHE_BITS = 20  # slots of 32 bytes for pieces of at most 15 bytes
LONG_BITS = 16  # slots of 32 bytes for pieces of 16 to LONGEST bytes
LONGEST = 256  # longer pieces are not kept
POOL = 1 << 21
ARENA = 1 << 22

ID_BITS = 21  # ids are below 2**21 - 1, so that two of them and a result share a word
SHORT = 64  # pieces up to this length are merged by scanning, longer ones with a heap
