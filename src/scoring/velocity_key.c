/*-------------------------------------------------------------------------
 * velocity_key.c
 *		Values as bytes that are equal when the values are.
 *
 * Only types whose equality is known: of others (case-insensitive text,
 * floating point, extension types) features are read by index, whose operators
 * know.
 *
 * No locks beyond those of the catalog caches.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "scoring/velocity_key.h"

#define IDENTITY_BYTES 16

static int write_bytes(const char *bytes, Size length, char *to, int room);
static int write_fixed(Oid type, Datum value, char *to, int room);
static void digest(const char *bytes, Size length, char *half);

AgentpayKeyForm
agentpay_key_form(Oid type, Oid collation)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return AGENTPAY_KEY_INTEGER;
		case BOOLOID:
		case CHAROID:
		case OIDOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case UUIDOID:
			return AGENTPAY_KEY_FIXED;
		case BYTEAOID:
			return AGENTPAY_KEY_BYTES;
		case NUMERICOID:
			return AGENTPAY_KEY_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			if (OidIsValid(collation) &&
				!get_collation_isdeterministic(collation))
				return AGENTPAY_KEY_NONE;
			return type == BPCHAROID ? AGENTPAY_KEY_PADDED : AGENTPAY_KEY_TEXT;
		default:
			return get_typtype(type) == TYPTYPE_ENUM ? AGENTPAY_KEY_FIXED
													 : AGENTPAY_KEY_NONE;
	}
}

int
agentpay_key_write(AgentpayKeyForm form, Oid type, Datum value, char *to,
				   int room)
{
	struct varlena *packed;
	int64 number;
	char *digits;
	int length;

	switch (form)
	{
		case AGENTPAY_KEY_INTEGER:
			number = type == INT2OID   ? DatumGetInt16(value)
					 : type == INT4OID ? DatumGetInt32(value)
									   : DatumGetInt64(value);
			return write_bytes((char *) &number, sizeof(number), to, room);
		case AGENTPAY_KEY_FIXED:
			return write_fixed(type, value, to, room);
		case AGENTPAY_KEY_TEXT:
		case AGENTPAY_KEY_BYTES:
			packed = PG_DETOAST_DATUM_PACKED(value);
			return write_bytes(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed),
							   to, room);
		case AGENTPAY_KEY_PADDED:
			packed = PG_DETOAST_DATUM_PACKED(value);
			length = bpchartruelen(VARDATA_ANY(packed),
								   VARSIZE_ANY_EXHDR(packed));
			return write_bytes(VARDATA_ANY(packed), length, to, room);
		case AGENTPAY_KEY_NUMERIC:
			digits = numeric_normalize(DatumGetNumeric(value));
			return write_bytes(digits, strlen(digits), to, room);
		case AGENTPAY_KEY_NONE:
			break;
	}
	elog(ERROR, "no form of values of type %u", type);
}

static int
write_bytes(const char *bytes, Size length, char *to, int room)
{
	if (length > (Size) room)
		return -1;
	memcpy(to, bytes, length);
	return (int) length;
}

static int
write_fixed(Oid type, Datum value, char *to, int room)
{
	int16 length;
	bool by_value;
	char bytes[sizeof(Datum)];

	get_typlenbyval(type, &length, &by_value);
	Assert(length > 0);
	if (!by_value)
		return write_bytes(DatumGetPointer(value), length, to, room);
	store_att_byval(bytes, value, length);
	return write_bytes(bytes, length, to, room);
}

void
agentpay_key_identity(AgentpayKeyForm form, Oid type, Datum value,
					  AgentpayEventValue *identity)
{
	char bytes[IDENTITY_BYTES] = {0};
	int length = agentpay_key_write(form, type, value, bytes,
									IDENTITY_BYTES - 1);

	if (length >= 0)
		bytes[IDENTITY_BYTES - 1] = (char) length;
	else
	{
		Assert(form != AGENTPAY_KEY_INTEGER && form != AGENTPAY_KEY_NONE);
		if (form == AGENTPAY_KEY_FIXED) /* uuid */
			memcpy(bytes, DatumGetPointer(value), IDENTITY_BYTES);
		else if (form == AGENTPAY_KEY_NUMERIC)
		{
			char *digits = numeric_normalize(DatumGetNumeric(value));

			digest(digits, strlen(digits), bytes);
		}
		else
		{
			struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
			Size size = VARSIZE_ANY_EXHDR(packed);

			if (form == AGENTPAY_KEY_PADDED)
				size = bpchartruelen(VARDATA_ANY(packed), size);
			digest(VARDATA_ANY(packed), size, bytes);
		}
	}
	memcpy(identity->identity, bytes, IDENTITY_BYTES);
}

/* Its last byte is the length of no short value. */
static void
digest(const char *bytes, Size length, char *half)
{
	uint8 whole[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) bytes, length) < 0 ||
		pg_cryptohash_final(context, whole, sizeof(whole)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a hash: %s",
						context == NULL ? "out of memory"
										: pg_cryptohash_error(context))));
	pg_cryptohash_free(context);
	memcpy(half, whole, IDENTITY_BYTES);
	half[IDENTITY_BYTES - 1] |= IDENTITY_BYTES;
}
