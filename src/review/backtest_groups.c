/*-------------------------------------------------------------------------
 * backtest_groups.c
 *		The groups in which backtest() counts payments.
 *
 * There are as many as verdicts, labels and currencies make, a few dozen, so
 * they are looked through, those that were met last first.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "review/backtest.h"

typedef struct Tally
{
	struct Tally *next;
	Datum keys[AGENTPAY_GROUP_KEYS]; /* text, packed or not; 0 for NULL */
	int64 payments;
	Datum amount; /* numeric; 0: none had one */
} Tally;

struct AgentpayGroups
{
	MemoryContext context;
	Tally *first;
};

static void
add(AgentpayGroups *groups, const Datum *keys, int64 payments, Datum amount);
static Tally *find(AgentpayGroups *groups, const Datum *keys);
static bool same_keys(const Datum *a, const Datum *b);
static void write_value(StringInfo bytes, Datum value);
static Datum read_value(StringInfo bytes);

AgentpayGroups *
agentpay_groups_make(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "agentpay backtest groups",
												  ALLOCSET_DEFAULT_SIZES);
	AgentpayGroups *groups = MemoryContextAllocZero(context,
													sizeof(AgentpayGroups));

	groups->context = context;
	return groups;
}

void
agentpay_groups_add(AgentpayGroups *groups,
					const Datum keys[AGENTPAY_GROUP_KEYS], Datum amount)
{
	add(groups, keys, 1, amount);
}

static void
add(AgentpayGroups *groups, const Datum *keys, int64 payments, Datum amount)
{
	MemoryContext old = MemoryContextSwitchTo(groups->context);
	Tally *group = find(groups, keys);

	group->payments += payments;
	if (amount != (Datum) 0 && group->amount == (Datum) 0)
		group->amount = NumericGetDatum(DatumGetNumericCopy(amount));
	else if (amount != (Datum) 0)
	{
		Datum sum = DirectFunctionCall2(numeric_add, group->amount, amount);

		pfree(DatumGetPointer(group->amount));
		group->amount = sum;
	}
	MemoryContextSwitchTo(old);
}

/* The group, new or not, which comes to stand first. */
static Tally *
find(AgentpayGroups *groups, const Datum *keys)
{
	Tally **link = &groups->first;
	Tally *group;

	for (; (group = *link) != NULL; link = &group->next)
		if (same_keys(group->keys, keys))
		{
			*link = group->next;
			group->next = groups->first;
			groups->first = group;
			return group;
		}
	group = palloc0(sizeof(Tally));
	for (int i = 0; i < AGENTPAY_GROUP_KEYS; i++)
		if (keys[i] != (Datum) 0)
			group->keys[i] = PointerGetDatum(DatumGetTextPCopy(keys[i]));
	group->next = groups->first;
	groups->first = group;
	return group;
}

static bool
same_keys(const Datum *a, const Datum *b)
{
	for (int i = 0; i < AGENTPAY_GROUP_KEYS; i++)
	{
		struct varlena *x = (struct varlena *) DatumGetPointer(a[i]);
		struct varlena *y = (struct varlena *) DatumGetPointer(b[i]);

		if (x == y)
			continue;
		if (x == NULL || y == NULL ||
			VARSIZE_ANY_EXHDR(x) != VARSIZE_ANY_EXHDR(y) ||
			memcmp(VARDATA_ANY(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(x)) != 0)
			return false;
	}
	return true;
}

void
agentpay_groups_put(const AgentpayGroups *groups, ReturnSetInfo *result)
{
	for (const Tally *group = groups->first; group != NULL; group = group->next)
	{
		Datum values[] = {group->keys[AGENTPAY_GROUP_RECORDED],
						  group->keys[AGENTPAY_GROUP_VERDICT],
						  group->keys[AGENTPAY_GROUP_LABEL],
						  Int64GetDatum(group->payments),
						  group->amount,
						  group->keys[AGENTPAY_GROUP_CURRENCY]};
		bool nulls[lengthof(values)];

		for (int i = 0; i < lengthof(values); i++)
			nulls[i] = i != 3 && values[i] == (Datum) 0;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

void
agentpay_groups_write(const void *sum, StringInfo bytes)
{
	const AgentpayGroups *groups = sum;

	for (const Tally *group = groups->first; group != NULL; group = group->next)
	{
		for (int i = 0; i < AGENTPAY_GROUP_KEYS; i++)
			write_value(bytes, group->keys[i]);
		pq_sendint64(bytes, group->payments);
		write_value(bytes, group->amount);
	}
}

void
agentpay_groups_read(void *sum, StringInfo bytes)
{
	AgentpayGroups *groups = sum;

	while (bytes->cursor < bytes->len)
	{
		Datum keys[AGENTPAY_GROUP_KEYS];
		int64 payments;

		for (int i = 0; i < AGENTPAY_GROUP_KEYS; i++)
			keys[i] = read_value(bytes);
		payments = pq_getmsgint64(bytes);
		add(groups, keys, payments, read_value(bytes));
	}
}

/* A varlena that is neither compressed nor elsewhere; 0 for NULL. */
static void
write_value(StringInfo bytes, Datum value)
{
	struct varlena *pointer = (struct varlena *) DatumGetPointer(value);

	if (pointer == NULL)
	{
		pq_sendint32(bytes, (uint32) -1);
		return;
	}
	pq_sendint32(bytes, (uint32) VARSIZE_ANY_EXHDR(pointer));
	pq_sendbytes(bytes, VARDATA_ANY(pointer), VARSIZE_ANY_EXHDR(pointer));
}

static Datum
read_value(StringInfo bytes)
{
	int length = (int) pq_getmsgint(bytes, 4);
	struct varlena *value;

	if (length < 0)
		return (Datum) 0;
	value = palloc(length + VARHDRSZ);
	SET_VARSIZE(value, length + VARHDRSZ);
	pq_copymsgbytes(bytes, VARDATA(value), length);
	return PointerGetDatum(value);
}
