/*-------------------------------------------------------------------------
 * merkle.c
 *		Merkle trees as in RFC 6962 and RFC 9162 (2.1).
 *
 * A leaf is hashed behind a zero byte and a node behind a one, so that neither
 * passes for the other.  What is asked of a tree goes down at most once from
 * its root, so every function needs O(log n) nodes.
 *-------------------------------------------------------------------------
 */
#include "evidence/merkle.h"

#include <string.h>

/* the functions that cannot fail and allocate nothing */
#define OPENSSL_API_COMPAT 0x10100000L
#include <openssl/sha.h>

static uint64_t split(uint64_t size);
static int level_of(uint64_t size);
static bool range_hash(const AgentpayMerkleSource *source, uint64_t start,
					   uint64_t end, AgentpayHash *out);
static bool add_range(const AgentpayMerkleSource *source, uint64_t start,
					  uint64_t end, AgentpayMerklePath *path);
static void reverse(AgentpayMerklePath *path);

/* H(0x00 || data) */
void
agentpay_merkle_leaf(const void *data, size_t len, AgentpayHash *out)
{
	static const uint8_t prefix = 0x00;
	SHA256_CTX context;

	SHA256_Init(&context);
	SHA256_Update(&context, &prefix, 1);
	SHA256_Update(&context, data, len);
	SHA256_Final(out->bytes, &context);
}

/* H(0x01 || left || right); out may be one of them. */
void
agentpay_merkle_node(const AgentpayHash *left, const AgentpayHash *right,
					 AgentpayHash *out)
{
	uint8_t data[1 + 2 * AGENTPAY_HASH_SIZE];

	data[0] = 0x01;
	memcpy(data + 1, left->bytes, AGENTPAY_HASH_SIZE);
	memcpy(data + 1 + AGENTPAY_HASH_SIZE, right->bytes, AGENTPAY_HASH_SIZE);
	SHA256(data, sizeof(data), out->bytes);
}

bool
agentpay_merkle_equal(const AgentpayHash *a, const AgentpayHash *b)
{
	return memcmp(a->bytes, b->bytes, AGENTPAY_HASH_SIZE) == 0;
}

void
agentpay_merkle_append(AgentpayMerkleFrontier *frontier,
					   const AgentpayHash *leaf, AgentpayMerkleSink sink,
					   void *arg)
{
	AgentpayHash hash = *leaf;
	int level = 0;

	if (sink != NULL)
		sink(arg, 0, frontier->size, &hash);
	while ((frontier->size >> level) & 1)
	{
		agentpay_merkle_node(&frontier->roots[level], &hash, &hash);
		level++;
		if (sink != NULL)
			sink(arg, level, frontier->size >> level, &hash);
	}
	frontier->roots[level] = hash;
	frontier->size++;
}

void
agentpay_merkle_frontier_root(const AgentpayMerkleFrontier *frontier,
							  AgentpayHash *out)
{
	bool any = false;

	if (frontier->size == 0)
		SHA256((const uint8_t *) "", 0, out->bytes);
	for (int level = 0; level < 64; level++)
	{
		if (((frontier->size >> level) & 1) == 0)
			continue;
		if (any)
			agentpay_merkle_node(&frontier->roots[level], out, out);
		else
			*out = frontier->roots[level];
		any = true;
	}
}

/* The frontier of the first size leaves. */
bool
agentpay_merkle_load(const AgentpayMerkleSource *source, uint64_t size,
					 AgentpayMerkleFrontier *frontier)
{
	frontier->size = size;
	for (int level = 0; level < 64; level++)
	{
		if (((size >> level) & 1) == 0)
			continue;
		/* the bits above say how many such subtrees are in front of it */
		if (!source->node(source->arg, level, (size >> level) - 1,
						  &frontier->roots[level]))
			return false;
	}
	return true;
}

bool
agentpay_merkle_root(const AgentpayMerkleSource *source, uint64_t size,
					 AgentpayHash *out)
{
	AgentpayMerkleFrontier frontier;

	if (!agentpay_merkle_load(source, size, &frontier))
		return false;
	agentpay_merkle_frontier_root(&frontier, out);
	return true;
}

/* PATH of RFC 9162, 2.1.3.1, from the top down, then turned round. */
bool
agentpay_merkle_inclusion(const AgentpayMerkleSource *source, uint64_t index,
						  uint64_t size, AgentpayMerklePath *path)
{
	uint64_t start = 0;
	uint64_t end = size;

	path->count = 0;
	if (index >= size || size > INT64_MAX)
		return false;
	while (end - start > 1)
	{
		uint64_t middle = start + split(end - start);

		if (index < middle)
		{
			if (!add_range(source, middle, end, path))
				return false;
			end = middle;
		}
		else
		{
			if (!add_range(source, start, middle, path))
				return false;
			start = middle;
		}
	}
	reverse(path);
	return true;
}

/* PROOF of RFC 9162, 2.1.4.1. */
bool
agentpay_merkle_consistency(const AgentpayMerkleSource *source, uint64_t first,
							uint64_t second, AgentpayMerklePath *path)
{
	uint64_t start = 0;
	uint64_t end = second;

	path->count = 0;
	if (first == 0 || first > second || second > INT64_MAX)
		return false;
	while (first < end)
	{
		uint64_t middle = start + split(end - start);

		if (first <= middle)
		{
			if (!add_range(source, middle, end, path))
				return false;
			end = middle;
		}
		else
		{
			if (!add_range(source, start, middle, path))
				return false;
			start = middle;
		}
	}
	/* the old tree itself need not be said */
	if (start > 0 && !add_range(source, start, end, path))
		return false;
	reverse(path);
	return true;
}

bool
agentpay_merkle_verify_inclusion(const AgentpayHash *leaf, uint64_t index,
								 uint64_t size, const AgentpayHash *path,
								 size_t count, const AgentpayHash *root)
{
	uint64_t fn = index;
	uint64_t sn = size - 1;
	AgentpayHash r = *leaf;

	if (index >= size)
		return false;
	for (size_t i = 0; i < count; i++)
	{
		if (sn == 0)
			return false;
		if ((fn & 1) == 1 || fn == sn)
		{
			agentpay_merkle_node(&path[i], &r, &r);
			while ((fn & 1) == 0 && fn != 0)
			{
				fn >>= 1;
				sn >>= 1;
			}
		}
		else
			agentpay_merkle_node(&r, &path[i], &r);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && agentpay_merkle_equal(&r, root);
}

/* The empty tree has no proof: anything would be consistent with it. */
bool
agentpay_merkle_verify_consistency(uint64_t first, uint64_t second,
								   const AgentpayHash *first_root,
								   const AgentpayHash *second_root,
								   const AgentpayHash *path, size_t count)
{
	uint64_t fn;
	uint64_t sn;
	size_t i = 0;
	AgentpayHash fr;
	AgentpayHash sr;

	if (first == 0 || first > second)
		return false;
	if (first == second)
		return count == 0 && agentpay_merkle_equal(first_root, second_root);
	if (count == 0)
		return false;

	/* a tree of a power of two is the first node of the path itself */
	fr = (first & (first - 1)) == 0 ? *first_root : path[i++];
	sr = fr;
	fn = first - 1;
	sn = second - 1;
	while ((fn & 1) == 1)
	{
		fn >>= 1;
		sn >>= 1;
	}
	for (; i < count; i++)
	{
		if (sn == 0)
			return false;
		if ((fn & 1) == 1 || fn == sn)
		{
			agentpay_merkle_node(&path[i], &fr, &fr);
			agentpay_merkle_node(&path[i], &sr, &sr);
			while ((fn & 1) == 0 && fn != 0)
			{
				fn >>= 1;
				sn >>= 1;
			}
		}
		else
			agentpay_merkle_node(&sr, &path[i], &sr);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && agentpay_merkle_equal(&fr, first_root) &&
		   agentpay_merkle_equal(&sr, second_root);
}

/* The largest power of two below size, which is at least 2. */
static uint64_t
split(uint64_t size)
{
	return (uint64_t) 1 << level_of(size - 1);
}

/* The place of the highest bit; size is not 0. */
static int
level_of(uint64_t size)
{
	return 63 - __builtin_clzll(size);
}

/* MTH(D[start:end]), for a range that the recursion of the RFC comes to. */
static bool
range_hash(const AgentpayMerkleSource *source, uint64_t start, uint64_t end,
		   AgentpayHash *out)
{
	uint64_t size = end - start;
	AgentpayHash left;
	AgentpayHash right;
	uint64_t middle;

	if ((size & (size - 1)) == 0)
		return source->node(source->arg, level_of(size),
							start >> level_of(size), out);
	middle = start + split(size);
	if (!range_hash(source, start, middle, &left) ||
		!range_hash(source, middle, end, &right))
		return false;
	agentpay_merkle_node(&left, &right, out);
	return true;
}

static bool
add_range(const AgentpayMerkleSource *source, uint64_t start, uint64_t end,
		  AgentpayMerklePath *path)
{
	return path->count < AGENTPAY_MERKLE_MAX_PATH &&
		   range_hash(source, start, end, &path->hashes[path->count++]);
}

static void
reverse(AgentpayMerklePath *path)
{
	for (int i = 0, j = path->count - 1; i < j; i++, j--)
	{
		AgentpayHash swapped = path->hashes[i];

		path->hashes[i] = path->hashes[j];
		path->hashes[j] = swapped;
	}
}
