/*-------------------------------------------------------------------------
 * expression_names.c
 *		The built-in functions and operators that expressions may use.
 *
 * Left out on purpose: whatever multiplies the size of its arguments (repeat,
 * lpad, replace, concat_ws, array_to_string, format, and quoting, since it
 * doubles backslashes), whatever takes time out of proportion (gcd of long
 * numerics), whatever reads the clock, settings or tables, and whatever is
 * VOLATILE.  Some of those that are listed are refused for certain
 * types or arguments: see expression_allow.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scoring/expression.h"
#include "scoring/expression_internal.h"

/* Both are sorted as strcmp() does.  A cast's function has its type's name. */
/* clang-format off */
static const char *const functions[] = {
	"abbrev", "abs", "acos", "acosd", "age", "array_length", "array_lower",
	"array_ndims", "array_position", "array_upper", "ascii", "asin", "asind",
	"atan", "atan2", "atan2d", "atand", "bit_length", "bool", "bpchar",
	"broadcast", "btrim", "cardinality", "cbrt", "ceil", "ceiling",
	"char_length", "character_length", "chr", "cidr", "concat", "cos", "cosd",
	"cot", "cotd", "date", "date_bin", "date_part", "date_trunc", "degrees",
	"div", "exp", "extract", "family", "float4", "float8", "floor",
	"host", "hostmask", "inet", "inet_same_family", "initcap", "int2", "int4",
	"int8", "interval", "is_normalized", "isfinite", "jsonb_array_length",
	"jsonb_exists", "jsonb_extract_path", "jsonb_extract_path_text",
	"jsonb_typeof", "justify_days", "justify_hours", "justify_interval",
	"left", "length", "like_escape", "ln", "log", "log10", "lower", "ltrim",
	"macaddr", "make_date", "make_interval", "make_time", "make_timestamp",
	"make_timestamptz", "masklen", "md5", "mod", "name", "netmask", "network",
	"normalize", "num_nonnulls", "num_nulls", "numeric", "octet_length",
	"overlaps", "overlay", "pi", "position", "pow", "power", "radians",
	"regexp_like", "reverse", "right", "round", "rtrim", "scale",
	"set_masklen", "sign", "similar_to_escape", "sin", "sind", "split_part",
	"sqrt", "starts_with", "string_to_array", "strpos", "substr", "substring",
	"tan", "tand", "text", "time", "timestamp", "timestamptz", "timezone",
	"to_timestamp", "translate", "trim_scale", "trunc", "upper", "varchar",
	"width_bucket"};

static const char *const operators[] = {
	"!~", "!~*", "!~~", "!~~*", "#", "#>", "#>>", "%", "&", "&&", "*", "+",
	"-", "->", "->>", "/", "<", "<<", "<<=", "<=", "<>", "<@", "=", ">", ">=",
	">>", ">>=", "?", "?&", "?|", "@", "@>", "^", "^@", "|", "|/", "||",
	"||/", "~", "~*", "~~", "~~*"};
/* clang-format on */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

bool
agentpay_expression_function_listed(const char *name)
{
	return bsearch(&name, functions, lengthof(functions), sizeof(char *),
				   compare_names) != NULL;
}

bool
agentpay_expression_operator_listed(const char *name)
{
	return bsearch(&name, operators, lengthof(operators), sizeof(char *),
				   compare_names) != NULL;
}
