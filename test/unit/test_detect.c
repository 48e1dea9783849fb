/*-------------------------------------------------------------------------
 * test_detect.c
 *		Card numbers, IBANs and e-mail addresses in text.
 *
 * Where the numbers come from: the Luhn samples are the one of ISO/IEC 7812-1
 * as commonly quoted (79927398713) and the card networks' published test
 * numbers; the IBANs are the examples of SWIFT's IBAN registry and of ISO
 * 13616.  Numbers marked "made" were made for the test, check digits
 * computed by hand.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "privacy/detect.h"
#include "tap.h"

static AgentpayDetectCounts counts; /* of the last redacted() */

/* The redacted form of a text, in memory that the next call reuses. */
static const char *
redacted_bytes(const char *in, size_t len, size_t *out_len)
{
	static char *out;
	char *exact = malloc(len + 1);

	/* Copies of exactly the size, so that a sanitizer sees overruns. */
	memcpy(exact, in, len);
	free(out);
	out = malloc(AGENTPAY_DETECT_OUT_SIZE(len) + 1);
	*out_len = agentpay_detect_redact(exact, len, out, &counts);
	if (*out_len > AGENTPAY_DETECT_OUT_SIZE(len))
		abort();
	out[*out_len] = '\0';
	free(exact);
	return out;
}

static const char *
redacted(const char *in)
{
	size_t len;

	return redacted_bytes(in, strlen(in), &len);
}

/* Checks one text, and that the quick scan agrees where it says no. */
static void
expect(const char *in, const char *out)
{
	const char *got = redacted(in);
	bool suspicious = agentpay_detect_suspicious(in, strlen(in));

	check(strcmp(got, out) == 0 && (suspicious || strcmp(in, out) == 0),
		  "%s -> %s%s%s", in, out, strcmp(got, out) == 0 ? "" : ", got ",
		  strcmp(got, out) == 0 ? "" : got);
}

static void
keeps(const char *in)
{
	expect(in, in);
}

static void
test_pan_networks(void)
{
	expect("4111111111111111", "[PAN]");	/* Visa */
	expect("4222222222222", "[PAN]");		/* Visa, 13 digits */
	expect("4012888888881881", "[PAN]");	/* Visa */
	expect("5555555555554444", "[PAN]");	/* Mastercard */
	expect("5105105105105100", "[PAN]");	/* Mastercard */
	expect("2223003122003222", "[PAN]");	/* Mastercard, 2-series */
	expect("378282246310005", "[PAN]");		/* American Express */
	expect("371449635398431", "[PAN]");		/* American Express */
	expect("6011111111111117", "[PAN]");	/* Discover */
	expect("6011000990139424", "[PAN]");	/* Discover */
	expect("30569309025904", "[PAN]");		/* Diners Club */
	expect("38520000023237", "[PAN]");		/* Diners Club */
	expect("3530111333300000", "[PAN]");	/* JCB */
	expect("6200000000000005", "[PAN]");	/* UnionPay */
	expect("6205500000000000004", "[PAN]"); /* UnionPay, 19 digits */
	expect("6759649826438453", "[PAN]");	/* Maestro */
	expect("2200000000000004", "[PAN]");	/* Mir, made */
}

static void
test_pan_checks(void)
{
	keeps("79927398713");	   /* right by Luhn, too short for a card */
	keeps("79927398710");	   /* wrong by Luhn */
	keeps("4111111111111112"); /* wrong by Luhn */
	keeps("9111111111111111"); /* no network's range */
	keeps("1234567812345670"); /* right by Luhn, no network's range */
	keeps("0000000000000000");
	keeps("411111111111116"); /* made: 15 digits, right by Luhn; not Visa's */
	keeps("34111111111111");  /* 14 digits, not American Express's */
	keeps("2221001111111");	  /* Mastercard's range, 13 digits */
}

static void
test_pan_boundaries(void)
{
	keeps("123456411111111111111198765432"); /* inside 30 digits */
	keeps("04111111111111111");				 /* a digit before */
	keeps("41111111111111110");				 /* a digit after */
	expect("x4111111111111111y", "x[PAN]y");
	expect("card:4111111111111111.", "card:[PAN].");
	expect("(4111111111111111)", "([PAN])");
	expect("a 4111111111111111 b 5555555555554444 c", "a [PAN] b [PAN] c");
	expect("4111111111111111,5555555555554444", "[PAN],[PAN]");
	expect("7 4111111111111111", "7 [PAN]");
	expect("4111111111111111 12/27", "[PAN] 12/27");
	check(strcmp(redacted("4111111111111111\n4111111111111111"),
				 "[PAN]\n[PAN]") == 0,
		  "one number a line");
	expect("", "");
	/* The longest that fits, also where a shorter one would. */
	expect("4222222222222 4222222222222", "[PAN] [PAN]");
}

static void
test_pan_separators(void)
{
	static const struct
	{
		const char *name;
		const char *bytes;
	} separators[] = {
		{"space", " "},
		{"dash", "-"},
		{"dot", "."},
		{"underscore", "_"},
		{"tab", "\t"},
		{"space dash space", " - "},
		{"U+00A0 no-break space", "\xC2\xA0"},
		{"U+00AD soft hyphen", "\xC2\xAD"},
		{"U+00B7 middle dot", "\xC2\xB7"},
		{"U+2003 em space", "\xE2\x80\x83"},
		{"U+2007 figure space", "\xE2\x80\x87"},
		{"U+2009 thin space", "\xE2\x80\x89"},
		{"U+200B zero width space", "\xE2\x80\x8B"},
		{"U+200C zero width non-joiner", "\xE2\x80\x8C"},
		{"U+200D zero width joiner", "\xE2\x80\x8D"},
		{"U+200E left-to-right mark", "\xE2\x80\x8E"},
		{"U+2010 hyphen", "\xE2\x80\x90"},
		{"U+2011 no-break hyphen", "\xE2\x80\x91"},
		{"U+2013 en dash", "\xE2\x80\x93"},
		{"U+2014 em dash", "\xE2\x80\x94"},
		{"U+202F narrow no-break space", "\xE2\x80\xAF"},
		{"U+2060 word joiner", "\xE2\x81\xA0"},
		{"U+2212 minus", "\xE2\x88\x92"},
		{"U+3000 ideographic space", "\xE3\x80\x80"},
		{"U+FE0F U+20E3 keycap", "\xEF\xB8\x8F\xE2\x83\xA3"},
		{"U+FEFF byte order mark", "\xEF\xBB\xBF"},
		{"U+FF0D full-width dash", "\xEF\xBC\x8D"},
		{"U+FF0E full-width dot", "\xEF\xBC\x8E"},
	};

	for (size_t i = 0; i < sizeof(separators) / sizeof(separators[0]); i++)
	{
		const char *pan = "4111111111111111";
		char fours[200] = "<";
		char ones[400] = "<";

		for (int k = 0; k < 16; k++)
		{
			strncat(fours, pan + k, 1);
			strncat(ones, pan + k, 1);
			if (k % 4 == 3 && k < 15)
				strcat(fours, separators[i].bytes);
			if (k < 15)
				strcat(ones, separators[i].bytes);
		}
		strcat(fours, ">");
		strcat(ones, ">");
		check(strcmp(redacted(fours), "<[PAN]>") == 0 &&
				  agentpay_detect_suspicious(fours, strlen(fours)),
			  "groups of four with %s", separators[i].name);
		check(strcmp(redacted(ones), "<[PAN]>") == 0 &&
				  agentpay_detect_suspicious(ones, strlen(ones)),
			  "single digits with %s", separators[i].name);
	}
	keeps("4111    1111    1111    1111");
	keeps("4111/1111/1111/1111");
	expect("3782 822463 10005", "[PAN]");
}

/* Writes a number with its digits in a script, given its zero. */
static const char *
in_script(const char *digits, uint32_t zero)
{
	static char out[200];
	char *p = out;

	for (; *digits; digits++)
	{
		uint32_t c = zero + (*digits - '0');

		if (c >= 0x10000)
		{
			*p++ = 0xF0 | c >> 18;
			*p++ = 0x80 | (c >> 12 & 0x3F);
			*p++ = 0x80 | (c >> 6 & 0x3F);
		}
		else if (c >= 0x800)
		{
			*p++ = 0xE0 | c >> 12;
			*p++ = 0x80 | (c >> 6 & 0x3F);
		}
		else
			*p++ = 0xC0 | c >> 6;
		*p++ = 0x80 | (c & 0x3F);
	}
	*p = '\0';
	return out;
}

static void
test_pan_scripts(void)
{
	expect(in_script("4111111111111111", 0xFF10), "[PAN]");	 /* full width */
	expect(in_script("4111111111111111", 0x0660), "[PAN]");	 /* Arabic */
	expect(in_script("4111111111111111", 0x06F0), "[PAN]");	 /* Persian */
	expect(in_script("4111111111111111", 0x0966), "[PAN]");	 /* Devanagari */
	expect(in_script("4111111111111111", 0x09E6), "[PAN]");	 /* Bengali */
	expect(in_script("4111111111111111", 0x0E50), "[PAN]");	 /* Thai */
	expect(in_script("4111111111111111", 0x1D7CE), "[PAN]"); /* bold */
	keeps(in_script("4111111111111112", 0xFF10));
	expect("41111111\xEF\xBC\x91\xEF\xBC\x91\xEF\xBC\x91\xEF\xBC\x91 1111",
		   "[PAN]");
	expect("卡号4111111111111111。", "卡号[PAN]。");
}

static void
test_iban(void)
{
	expect("GB82WEST12345698765432", "[IBAN]");
	expect("DE89370400440532013000", "[IBAN]");
	expect("FR1420041010050500013M02606", "[IBAN]");
	expect("NO9386011117947", "[IBAN]");
	expect("BE68539007547034", "[IBAN]");
	expect("NL91ABNA0417164300", "[IBAN]");
	expect("MT84MALT011000012345MTLCAST001S", "[IBAN]");
	expect("AL47212110090000000235698741", "[IBAN]");
	keeps("GB82WEST12345698765431");
	keeps("DE89370400440532013001");

	expect("gb82west12345698765432", "[IBAN]");
	expect("GB82 WEST 1234 5698 7654 32", "[IBAN]");
	expect("GB 82 WEST 1234 5698 7654 32", "[IBAN]");
	expect("DE89-3704-0044-0532-0130-00", "[IBAN]");
	expect("DE89\xC2\xA0"
		   "3704\xC2\xA0"
		   "0044\xC2\xA0"
		   "0532\xC2\xA0"
		   "0130 00",
		   "[IBAN]");
	expect("D\xE2\x80\x8B"
		   "E89370400440532013000",
		   "[IBAN]");
	expect("IBAN DE89370400440532013000 please", "IBAN [IBAN] please");
	expect("IBANDE89370400440532013000", "IBAN[IBAN]");
	expect("iban:DE89370400440532013000,BE68539007547034",
		   "iban:[IBAN],[IBAN]");
	expect("pay NO9386011117947 now", "pay [IBAN] now");
	expect("ＤＥ８９370400440532013000", "[IBAN]");

	keeps("DE893704004405320130001"); /* a digit after */
	keeps("XDE89370400440532013000"); /* inside a word */
	expect("12DE89370400440532013000EUR", "12[IBAN]EUR");
	keeps("MT84MALT011000012345MTLCAST001SX"); /* a letter after a letter */
	keeps("ZZ89370400440532013000");		   /* no such country */
	keeps("DE8937040044053201300");			   /* too short */
	keeps("at 20 o'clock we meet 15 people");
}

static void
test_email(void)
{
	expect("joe@example.com", "[EMAIL]");
	expect("a@b.co", "[EMAIL]");
	expect("Mail joe.bloggs+shop@mail.example.co.uk.", "Mail [EMAIL].");
	expect("<joe@example.com>, <ann@example.org>", "<[EMAIL]>, <[EMAIL]>");
	expect("mailto:joe@example.com?x=1", "mailto:[EMAIL]?x=1");
	expect("user=joe@example.com", "user=[EMAIL]");
	expect("o'neil@example.com", "[EMAIL]");
	expect("'joe@example.com'", "'[EMAIL]'");
	expect("\"joe bloggs\"@example.com", "[EMAIL]");
	expect("müller@bücher.example", "[EMAIL]");
	expect("联系joe@example.com谢谢", "[EMAIL]谢谢");
	expect("joe＠example.com", "[EMAIL]");
	expect("joe@exam\xE2\x80\x8Bple.com", "[EMAIL]");
	expect("joe@example.com.123", "[EMAIL].123");
	expect("4111111111111111@example.com", "[EMAIL]");
	expect("a@b@example.com", "a@[EMAIL]");

	keeps("@example.com");
	keeps("joe@");
	keeps("joe@localhost");
	keeps("5 apples @ 3.50");
	keeps("5@3.50");
	keeps("joe@example.c");
	keeps("joe@.example");
}

static void
test_mixed(void)
{
	expect("joe@example.com paid DE89370400440532013000 with "
		   "4111-1111-1111-1111",
		   "[EMAIL] paid [IBAN] with [PAN]");
	check(counts.pans == 1 && counts.ibans == 1 && counts.emails == 1,
		  "counted one of each");
	keeps("Order 10023 of 2026-11-24 09:39, 3 items, EUR 120.50");
	keeps("EUR");
	keeps("550e8400-e29b-41d4-a716-446655440000");
}

static void
test_quick_scan(void)
{
	static const char *const dull[] = {
		"",
		"EUR",
		"visa",
		"Berlin",
		"order 10023",
		"2026-11-24",
		"Rent for May, flat 12b",
		"that 15 is late",
		"192.168.100.200",
		"+49 176 123456",
	};

	for (size_t i = 0; i < sizeof(dull) / sizeof(dull[0]); i++)
		check(!agentpay_detect_suspicious(dull[i], strlen(dull[i])),
			  "not suspicious: %s", dull[i]);
}

static void
test_invalid_utf8(void)
{
	static const struct
	{
		const char *in;
		const char *out;
	} cases[] = {
		{"\xFF"
		 "4111111111111111\xFE",
		 "\xFF[PAN]\xFE"},
		{"4111\xC2 1111", "4111\xC2 1111"},
		{"\xE2\x80", "\xE2\x80"},		  /* cut short */
		{"\xF0\x9D\x9F", "\xF0\x9D\x9F"}, /* cut short */
		{"\xC0\xB4"
		 "111111111111111",
		 "\xC0\xB4"
		 "111111111111111"},
		{"\xED\xA0\x80"
		 "4111111111111111",
		 "\xED\xA0\x80[PAN]"},
		{"joe\xFF@example.com", "joe\xFF@example.com"},
		{"joe@example.com\xFF", "[EMAIL]\xFF"},
		{"\xF5\x80\x80\x80 DE89370400440532013000", "\xF5\x80\x80\x80 [IBAN]"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check(strcmp(redacted(cases[i].in), cases[i].out) == 0,
			  "invalid UTF-8 %zu is kept, and what is beside it is found", i);
	{
		size_t len;
		const char *out = redacted_bytes("a\0"
										 "4111111111111111\0b",
										 20, &len);

		check(len == 9 && memcmp(out, "a\0[PAN]\0b", 9) == 0,
			  "a zero byte is a byte like others");
	}
}

/* Steps taken on n bytes of a repeated piece. */
static size_t
steps_on(const char *piece, size_t n)
{
	char *text = malloc(n);
	char *out = malloc(AGENTPAY_DETECT_OUT_SIZE(n));
	size_t period = strlen(piece);

	for (size_t i = 0; i < n; i++)
		text[i] = piece[i % period];
	agentpay_detect_redact(text, n, out, &counts);
	free(text);
	free(out);
	return counts.steps;
}

static void
test_linear(void)
{
	static const char *const pieces[] = {
		"4",
		"4 ",
		"4\xE2\x80\x8B",
		"4111 ",
		"@",
		"a@",
		"a@b.",
		"a@b.c",
		"a.",
		"\"@",
		"GB",
		"GB82",
		"GB82 ",
		"iban",
		"IBANGB82WEST1234569876543",
		" IBANGB82 WEST 1234 5698 7654 3",
		"MT84MALT011000012345MTLCAST001",
		"\xE2\x80\x8B",
		"\xFF",
		"4111111111111111 ",
		"joe@example.com ",
	};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
	{
		size_t once = steps_on(pieces[i], 50000);
		size_t thrice = steps_on(pieces[i], 150000);

		check(once <= 50000 * 25 && thrice <= once * 3 + 3000,
			  "linear on %zu: %zu steps, %zu for thrice the length", i, once,
			  thrice);
	}
	{
		/* One start with a long run of invisible characters behind it. */
		size_t n = 150003;
		char *text = malloc(n);
		char *out = malloc(AGENTPAY_DETECT_OUT_SIZE(n));

		for (size_t i = 0; i < n; i++)
			text[i] = "\xE2\x80\x8B"[i % 3];
		memcpy(text, "GB\x20G\x20\x20", 6);
		agentpay_detect_redact(text, n, out, &counts);
		check(counts.steps <= n * 25, "linear on an endless gap: %zu steps",
			  counts.steps);
		free(text);
		free(out);
	}
}

/* Whether bytes are valid UTF-8, told independently of the code under test. */
static bool
valid_utf8(const unsigned char *s, size_t len)
{
	for (size_t i = 0; i < len;)
	{
		size_t n = s[i] < 0x80	 ? 1
				   : s[i] < 0xC2 ? 0
				   : s[i] < 0xE0 ? 2
				   : s[i] < 0xF0 ? 3
				   : s[i] < 0xF5 ? 4
								 : 0;

		if (n == 0 || i + n > len)
			return false;
		for (size_t k = 1; k < n; k++)
		{
			if ((s[i + k] & 0xC0) != 0x80)
				return false;
		}
		i += n;
	}
	return true;
}

/*
 * Random texts of pieces that matter: the quick scan never misses, what is
 * redacted stays redacted, valid stays valid.
 */
static void
test_random(void)
{
	static const char *const pieces[] = {
		"4111111111111111",
		"4111",
		"1111",
		"5555",
		"4444",
		"0",
		"3",
		"7",
		"9",
		"GB82",
		"WEST",
		"DE89",
		"3704",
		"0044",
		"0532",
		"0130",
		"00",
		"IBAN",
		"NO9386011117947",
		"gb",
		"a",
		"z",
		"joe",
		"@",
		"@",
		".",
		".com",
		"co",
		" ",
		" ",
		"-",
		"_",
		"\t",
		"\n",
		"\"",
		"'",
		"é",
		"谢",
		"\xE2\x80\x8B",
		"\xC2\xA0",
		"\xEF\xBC\x94",
		"\xEF\xBC\x91",
		"\xEF\xBC\xA7",
		"\xEF\xBC\xA2",
		"\xEF\xBC\xA0",
		"\xD9\xA1",
		"/",
		",",
		"[PAN]",
	};
	uint64_t state = 20260101;
	int missed = 0;
	int unstable = 0;
	int spoiled = 0;

	for (int round = 0; round < 200000; round++)
	{
		char text[400] = "";
		char once[1000];
		char twice[1000];
		size_t n;
		size_t m;
		int parts;

		state = state * 6364136223846793005u + 1442695040888963407u;
		parts = 1 + (state >> 33) % 16;
		for (int i = 0; i < parts; i++)
		{
			state = state * 6364136223846793005u + 1442695040888963407u;
			strcat(
				text,
				pieces[(state >> 33) % (sizeof(pieces) / sizeof(pieces[0]))]);
		}
		n = agentpay_detect_redact(text, strlen(text), once, NULL);
		m = agentpay_detect_redact(once, n, twice, NULL);
		once[n] = '\0';
		if (strcmp(text, once) != 0 &&
			!agentpay_detect_suspicious(text, strlen(text)) && missed++ < 5)
			printf("# missed: %s\n", text);
		if ((n != m || memcmp(once, twice, n) != 0) && unstable++ < 5)
			printf("# unstable: %s\n", text);
		if (!valid_utf8((unsigned char *) once, n))
			spoiled++;
	}
	check(missed == 0, "the quick scan misses nothing, 200,000 texts");
	check(unstable == 0, "a second redaction finds nothing more");
	check(spoiled == 0, "valid UTF-8 stays valid");
}

int
main(void)
{
	test_pan_networks();
	test_pan_checks();
	test_pan_boundaries();
	test_pan_separators();
	test_pan_scripts();
	test_iban();
	test_email();
	test_mixed();
	test_quick_scan();
	test_invalid_utf8();
	test_linear();
	test_random();
	return tap_done();
}
