/*-------------------------------------------------------------------------
 * merkle.h
 *		Merkle trees as in RFC 6962 and RFC 9162 (2.1): hashes, inclusion and
 *		consistency proofs, and their verification.
 *
 * Pure: libc and libcrypto's SHA-256 only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_MERKLE_H
#define AGENTPAY_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENTPAY_HASH_SIZE 32
/* No path is longer: a tree has at most 2^63 - 1 leaves. */
#define AGENTPAY_MERKLE_MAX_PATH 64

typedef struct AgentpayHash
{
	uint8_t bytes[AGENTPAY_HASH_SIZE];
} AgentpayHash;

typedef struct AgentpayMerklePath
{
	int count;
	AgentpayHash hashes[AGENTPAY_MERKLE_MAX_PATH];
} AgentpayMerklePath;

/*
 * Where nodes come from: the root of the complete subtree of 2^level leaves
 * from leaf index * 2^level on.  False: it is not there.
 */
typedef struct AgentpayMerkleSource
{
	bool (*node)(void *arg, int level, uint64_t index, AgentpayHash *out);
	void *arg;
} AgentpayMerkleSource;

/* The roots of the complete subtrees that a tree consists of, by level. */
typedef struct AgentpayMerkleFrontier
{
	uint64_t size;
	AgentpayHash roots[64]; /* valid where size has that bit */
} AgentpayMerkleFrontier;

/* Called for each complete subtree, smaller ones first; level 0: the leaf. */
typedef void (*AgentpayMerkleSink)(void *arg, int level, uint64_t index,
								   const AgentpayHash *hash);

extern void
agentpay_merkle_leaf(const void *data, size_t len, AgentpayHash *out);
extern void agentpay_merkle_node(const AgentpayHash *left,
								 const AgentpayHash *right, AgentpayHash *out);
extern bool agentpay_merkle_equal(const AgentpayHash *a, const AgentpayHash *b);

/* A frontier starts as {0}; sink may be NULL. */
extern void agentpay_merkle_append(AgentpayMerkleFrontier *frontier,
								   const AgentpayHash *leaf,
								   AgentpayMerkleSink sink, void *arg);
extern void
agentpay_merkle_frontier_root(const AgentpayMerkleFrontier *frontier,
							  AgentpayHash *out);
extern bool
agentpay_merkle_load(const AgentpayMerkleSource *source, uint64_t size,
					 AgentpayMerkleFrontier *frontier);

/* The root of the first size leaves. */
extern bool agentpay_merkle_root(const AgentpayMerkleSource *source,
								 uint64_t size, AgentpayHash *out);

/*
 * PATH(index, D[size]) and PROOF(first, D[second]); false when there is none
 * for these numbers, or a node is not there.
 */
extern bool
agentpay_merkle_inclusion(const AgentpayMerkleSource *source, uint64_t index,
						  uint64_t size, AgentpayMerklePath *path);
extern bool
agentpay_merkle_consistency(const AgentpayMerkleSource *source, uint64_t first,
							uint64_t second, AgentpayMerklePath *path);

/* RFC 9162, 2.1.3.2 and 2.1.4.2. */
extern bool
agentpay_merkle_verify_inclusion(const AgentpayHash *leaf, uint64_t index,
								 uint64_t size, const AgentpayHash *path,
								 size_t count, const AgentpayHash *root);
extern bool
agentpay_merkle_verify_consistency(uint64_t first, uint64_t second,
								   const AgentpayHash *first_root,
								   const AgentpayHash *second_root,
								   const AgentpayHash *path, size_t count);

#endif /* AGENTPAY_MERKLE_H */
