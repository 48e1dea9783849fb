/*-------------------------------------------------------------------------
 * key_memo.c
 *		The keys of the subjects whose payments came last, by their names.
 *
 * Hashing a subject under the lookup key and giving its key to a cipher take
 * longer than to seal a row.  Who pays again within a session is found here by
 * name, with the cipher that its key is in.  privacy/keys.c decides what is
 * noted, and wipes it when anything about keys changes.
 *
 * A subject has two places, neighbours; where others have both, it takes that
 * of the one that was noted first.
 *
 * Locks: none; memory of this process.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "privacy/key_memo.h"

#define PLACES 1024

static AgentpayKeyMemo *places = NULL;
static int used = 0;

static AgentpayKeyMemo *places_of(const char *subject, size_t len);
static bool
is_of(const AgentpayKeyMemo *place, const char *subject, size_t len);
static void wipe_place(AgentpayKeyMemo *place);

AgentpayKeyMemo *
agentpay_key_memo_find(const char *subject)
{
	size_t len = strlen(subject);
	AgentpayKeyMemo *place;

	if (used == 0 || len == 0 || len > AGENTPAY_MEMO_SUBJECT)
		return NULL;
	place = places_of(subject, len);
	if (is_of(place, subject, len))
		return place;
	return is_of(place + 1, subject, len) ? place + 1 : NULL;
}

void
agentpay_key_memo_note(const char *subject, int64 key_id, const uint8 *bytes,
					   bool own)
{
	size_t len = strlen(subject);
	AgentpayKeyMemo *place;

	if (len == 0 || len > AGENTPAY_MEMO_SUBJECT)
		return;
	if (places == NULL)
		places = MemoryContextAllocZero(TopMemoryContext,
										PLACES * sizeof(AgentpayKeyMemo));
	/* the newer one is in the first */
	place = places_of(subject, len);
	wipe_place(&place[1]);
	place[1] = place[0];
	explicit_bzero(place, sizeof(*place));
	place->len = (int) len;
	memcpy(place->subject, subject, len);
	place->key_id = key_id;
	place->own = own;
	memcpy(place->bytes, bytes, AGENTPAY_KEY_SIZE);
	used++;
}

void
agentpay_key_memo_wipe(bool own_only)
{
	for (int i = 0; used > 0 && i < PLACES; i++)
		if (!own_only || places[i].own)
			wipe_place(&places[i]);
}

void
agentpay_key_memo_keep_own(void)
{
	for (int i = 0; used > 0 && i < PLACES; i++)
		places[i].own = false;
}

/* The first of its two. */
static AgentpayKeyMemo *
places_of(const char *subject, size_t len)
{
	uint32 hash = hash_bytes((const unsigned char *) subject, (int) len);

	return &places[2 * (hash % (PLACES / 2))];
}

static bool
is_of(const AgentpayKeyMemo *place, const char *subject, size_t len)
{
	return place->len == (int) len && memcmp(place->subject, subject, len) == 0;
}

static void
wipe_place(AgentpayKeyMemo *place)
{
	if (place->len == 0)
		return;
	agentpay_cipher_sealer_free(place->sealer);
	explicit_bzero(place, sizeof(*place));
	used--;
}
