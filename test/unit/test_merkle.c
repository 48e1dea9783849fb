/*-------------------------------------------------------------------------
 * test_merkle.c
 *		Merkle trees against the definitions of RFC 9162, for the published
 *		leaves and for every size up to some hundreds.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "evidence/merkle.h"
#include "tap.h"

typedef struct ProofCase
{
	uint64_t first; /* inclusion: the index */
	uint64_t second;
	int count;
	const char *hashes;
} ProofCase;

#include "../oracle/merkle_cases.h"

#define N(array) (sizeof(array) / sizeof(*(array)))
#define MAX_SIZE 300

static AgentpayHash leaves[MAX_SIZE + 1];
static AgentpayHash roots[MAX_SIZE + 1]; /* naive(), of each size */
static AgentpayHash subtrees[9][MAX_SIZE];
static int nodes_asked;

static size_t
from_hex(const char *hex, uint8_t *out)
{
	size_t len = strlen(hex) / 2;

	for (size_t i = 0; i < len; i++)
	{
		char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

		out[i] = (uint8_t) strtoul(pair, NULL, 16);
	}
	return len;
}

static bool
is_hash(const AgentpayHash *hash, const char *hex)
{
	AgentpayHash wanted;

	return from_hex(hex, wanted.bytes) == AGENTPAY_HASH_SIZE &&
		   agentpay_merkle_equal(hash, &wanted);
}

/* MTH as the RFC has it: the answer that the rest is compared with. */
static AgentpayHash
naive(const AgentpayHash *hashes, uint64_t size)
{
	AgentpayHash left;
	AgentpayHash right;
	uint64_t k = 1;

	if (size == 1)
		return hashes[0];
	while (k * 2 < size)
		k *= 2;
	left = naive(hashes, k);
	right = naive(hashes + k, size - k);
	agentpay_merkle_node(&left, &right, &left);
	return left;
}

static bool
naive_node(void *arg, int level, uint64_t index, AgentpayHash *out)
{
	uint64_t size = (uint64_t) 1 << level;

	nodes_asked++;
	if ((index + 1) * size > *(uint64_t *) arg)
		return false;
	*out = level < 9 ? subtrees[level][index] : naive(leaves, size);
	return true;
}

static uint64_t available = MAX_SIZE;
static const AgentpayMerkleSource source = {naive_node, &available};

static void
make_leaves(const char *const *hex, size_t count)
{
	uint8_t data[64];

	for (size_t i = 0; i < count; i++)
		agentpay_merkle_leaf(data, from_hex(hex[i], data), &leaves[i]);
}

static void
make_subtrees(void)
{
	for (uint64_t n = 1; n <= MAX_SIZE; n++)
		roots[n] = naive(leaves, n);
	for (int level = 0; level < 9; level++)
		for (uint64_t i = 0; (i + 1) << level <= MAX_SIZE; i++)
			subtrees[level][i] = naive(leaves + (i << level),
									   (uint64_t) 1 << level);
}

static void
check_published(void)
{
	make_leaves(case_leaves, CASE_LEAVES);
	make_subtrees();
	for (size_t i = 0; i < CASE_LEAVES; i++)
		check(is_hash(&leaves[i], case_leaf_hashes[i]), "leaf %zu", i);
	for (size_t n = 0; n <= CASE_LEAVES; n++)
	{
		AgentpayHash root;

		check(agentpay_merkle_root(&source, n, &root) &&
				  is_hash(&root, case_roots[n]),
			  "root of %zu leaves", n);
	}
}

static bool
same_path(const AgentpayMerklePath *path, const ProofCase *wanted)
{
	uint8_t bytes[64 * AGENTPAY_HASH_SIZE];

	return path->count == wanted->count &&
		   from_hex(wanted->hashes, bytes) ==
			   (size_t) path->count * AGENTPAY_HASH_SIZE &&
		   memcmp(bytes, path->hashes,
				  (size_t) path->count * AGENTPAY_HASH_SIZE) == 0;
}

static void
check_published_proofs(void)
{
	AgentpayMerklePath path;

	for (size_t i = 0; i < N(case_inclusion); i++)
		check(agentpay_merkle_inclusion(&source, case_inclusion[i].first,
										case_inclusion[i].second, &path) &&
				  same_path(&path, &case_inclusion[i]),
			  "inclusion of %d in %d", (int) case_inclusion[i].first,
			  (int) case_inclusion[i].second);
	for (size_t i = 0; i < N(case_consistency); i++)
		check(agentpay_merkle_consistency(&source, case_consistency[i].first,
										  case_consistency[i].second, &path) &&
				  same_path(&path, &case_consistency[i]),
			  "consistency of %d and %d", (int) case_consistency[i].first,
			  (int) case_consistency[i].second);
}

/* What the sink said, to be compared with the naive subtree. */
static bool sink_right = true;

static void
note_node(void *arg, int level, uint64_t index, const AgentpayHash *hash)
{
	AgentpayHash wanted = naive(leaves + (index << level),
								(uint64_t) 1 << level);

	(*(int *) arg)++;
	sink_right = sink_right && agentpay_merkle_equal(&wanted, hash);
}

static void
check_frontier(void)
{
	AgentpayMerkleFrontier frontier = {0};
	AgentpayMerkleFrontier loaded;
	bool sound = true;
	bool loads = true;
	int nodes = 0;

	for (uint64_t n = 1; n <= MAX_SIZE; n++)
	{
		AgentpayHash root;
		AgentpayHash wanted = roots[n];

		agentpay_merkle_append(&frontier, &leaves[n - 1], note_node, &nodes);
		agentpay_merkle_frontier_root(&frontier, &root);
		sound = sound && agentpay_merkle_equal(&root, &wanted);
		loads = loads && agentpay_merkle_load(&source, n, &loaded);
		agentpay_merkle_frontier_root(&loaded, &root);
		loads = loads && agentpay_merkle_equal(&root, &wanted);
	}
	check(sound, "leaf by leaf, each root is right");
	check(loads, "and read again, it is the same");
	/* 300 + 150 + 75 + 37 + 18 + 9 + 4 + 2 + 1 */
	check(sink_right && nodes == 596, "every complete subtree was said once");
}

static bool
verifies(uint64_t index, uint64_t size, const AgentpayMerklePath *path,
		 const AgentpayHash *root)
{
	return agentpay_merkle_verify_inclusion(&leaves[index], index, size,
											path->hashes, path->count, root);
}

/* A proof that is off by a bit, a hash, an index or a size. */
static bool
refuses_inclusion(uint64_t index, uint64_t size, AgentpayMerklePath path,
				  const AgentpayHash *root)
{
	bool refused = !verifies((index + 1) % MAX_SIZE, size, &path, root);

	if (path.count > 0)
	{
		path.hashes[index % path.count].bytes[index % 32] ^= 1;
		refused = refused && !verifies(index, size, &path, root);
		path.hashes[index % path.count].bytes[index % 32] ^= 1;
		path.count--;
		refused = refused && !verifies(index, size, &path, root);
		path.count++;
	}
	path.hashes[path.count++] = leaves[0];
	return refused && !verifies(index, size, &path, root) &&
		   !verifies(size, size, &path, root);
}

static void
check_every_inclusion(void)
{
	bool right = true;
	bool refused = true;
	int most = 0;

	for (uint64_t n = 1; n <= MAX_SIZE; n++)
	{
		AgentpayHash root = roots[n];

		for (uint64_t i = 0; i < n; i++)
		{
			AgentpayMerklePath path;

			nodes_asked = 0;
			right = right && agentpay_merkle_inclusion(&source, i, n, &path) &&
					verifies(i, n, &path, &root);
			refused = refused && refuses_inclusion(i, n, path, &root);
			if (nodes_asked > most)
				most = nodes_asked;
		}
	}
	check(right, "inclusion: every leaf of every size up to %d", MAX_SIZE);
	check(refused, "inclusion: what is off is refused");
	check(most <= 2 * 9, "inclusion: O(log n) nodes, %d at most", most);
}

static void
check_every_consistency(void)
{
	bool right = true;
	bool refused = true;

	for (uint64_t n = 1; n <= MAX_SIZE; n++)
		for (uint64_t m = 1; m <= n; m++)
		{
			AgentpayMerklePath path;
			AgentpayHash old = roots[m];
			AgentpayHash now = roots[n];
			AgentpayHash other = old;

			right = right &&
					agentpay_merkle_consistency(&source, m, n, &path) &&
					agentpay_merkle_verify_consistency(m, n, &old, &now,
													   path.hashes, path.count);
			other.bytes[m % 32] ^= 4;
			refused = refused &&
					  !agentpay_merkle_verify_consistency(m, n, &other, &now,
														  path.hashes,
														  path.count) &&
					  !agentpay_merkle_verify_consistency(m, n, &old, &other,
														  path.hashes,
														  path.count);
			path.hashes[path.count] = leaves[0];
			refused = refused &&
					  !agentpay_merkle_verify_consistency(m, n, &old, &now,
														  path.hashes,
														  path.count + 1);
			if (path.count > 0)
				refused = refused &&
						  !agentpay_merkle_verify_consistency(m, n, &old, &now,
															  path.hashes,
															  path.count - 1);
		}
	check(right, "consistency: every pair of sizes up to %d", MAX_SIZE);
	check(refused, "consistency: what is off is refused");
}

static void
check_limits(void)
{
	AgentpayMerklePath path;
	AgentpayHash root = roots[8];

	check(!agentpay_merkle_inclusion(&source, 8, 8, &path), "no leaf 8 of 8");
	check(!agentpay_merkle_inclusion(&source, 0, 0, &path), "none of 0");
	check(!agentpay_merkle_inclusion(&source, 0, UINT64_MAX, &path),
		  "no tree of 2^64 - 1");
	check(!agentpay_merkle_consistency(&source, 0, 8, &path),
		  "no consistency from size 0");
	check(!agentpay_merkle_consistency(&source, 9, 8, &path),
		  "nor from a larger size");
	check(!agentpay_merkle_verify_consistency(0, 8, &root, &root, NULL, 0) &&
			  !agentpay_merkle_verify_consistency(9, 8, &root, &root, NULL, 0),
		  "nor is one believed");
	check(!agentpay_merkle_verify_consistency(4, 8, &root, &root, NULL, 0),
		  "nor an empty one");
	available = 7;
	check(!agentpay_merkle_inclusion(&source, 0, 8, &path) &&
			  !agentpay_merkle_root(&source, 8, &root) &&
			  !agentpay_merkle_consistency(&source, 7, 8, &path),
		  "a node that is missing is no proof");
	available = MAX_SIZE;
}

int
main(void)
{
	check_published();
	check_published_proofs();
	for (int i = 0; i < MAX_SIZE; i++)
		agentpay_merkle_leaf(&i, sizeof(i), &leaves[i]);
	make_subtrees();
	check_frontier();
	check_every_inclusion();
	check_every_consistency();
	check_limits();
	return tap_done();
}
