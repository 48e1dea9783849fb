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

/*
 * National ids: the examples that their issuers, or Wikipedia's articles on
 * them, print.  A digit changed makes each of those with a check digit none.
 */
static void
test_ids(void)
{
	expect("123-45-6789", "[ID]"); /* United States, as in SSA's samples */
	keeps("666-45-6789");
	keeps("900-45-6789");
	keeps("123-00-6789");
	keeps("123-45-0000");
	expect("SSN: 123456789", "SSN: [ID]");
	keeps("order 123456789");
	expect("JG 12 14 78 C", "[ID]");		/* United Kingdom */
	keeps("QQ 12 34 56 C");					/* HMRC's, never given */
	expect("NHS 943 476 5919", "NHS [ID]"); /* NHS */
	expect("86 095 742 719", "[ID]");		/* Germany */
	keeps("86 095 742 718");
	expect("2 55 08 14 168 025 38", "[ID]"); /* France */
	keeps("2 55 08 14 168 025 39");
	expect("RSSMRA85T10A562S", "[ID]"); /* Italy */
	keeps("RSSMRA85T10A562T");
	expect("12345678Z", "[ID]"); /* Spain */
	keeps("12345678A");
	expect("X1234567L", "[ID]");
	keeps("X1234567M");
	expect("BSN 111222333", "BSN [ID]"); /* Netherlands */
	keeps("BSN 111222334");
	expect("PESEL: 44051401359", "PESEL: [ID]"); /* Poland */
	keeps("PESEL: 44051401358");
	expect("811228-9874", "[ID]"); /* Sweden */
	keeps("811228-9875");
	expect("131052-308T", "[ID]"); /* Finland */
	keeps("131052-308U");
	expect("15108695088", "[ID]"); /* Norway */
	keeps("15108695089");
	expect("85.07.30-033.28", "[ID]"); /* Belgium */
	keeps("85.07.30-033.29");
	expect("390.533.447-05", "[ID]"); /* Brazil */
	keeps("390.533.447-06");
	expect("2341 2341 2346", "[ID]"); /* India */
	keeps("2341 2341 2347");
	expect("11010519491231002X", "[ID]"); /* China */
	keeps("110105194912310021");
	expect("SIN 130 692 544", "SIN [ID]");
	keeps("SIN 130 692 543");
	expect("TFN 123 456 782", "TFN [ID]"); /* Australia */
	keeps("TFN 123 456 783");
	expect("756.9217.0769.85", "[ID]"); /* Switzerland */
	keeps("756.9217.0769.84");
	expect("S1234567D", "[ID]"); /* Singapore */
	keeps("S1234567E");
	expect("BOXW310820HNERXN09", "[ID]"); /* Mexico */
	keeps("BOXW310820HNERXN08");
	expect("NIF 123456789", "NIF [ID]"); /* Portugal */
	keeps("NIF 123456788");
	expect("TCKN 10000000146", "TCKN [ID]"); /* Turkey */
	keeps("TCKN 10000000147");
	expect("１１０１０５１９４９１２３１００２Ｘ", "[ID]");
	keeps("550e8400-e29b-41d4-a716-446655440000");
}

static void
test_phones(void)
{
	expect("+44 20 7946 0958", "[PHONE]"); /* Ofcom's numbers for drama */
	expect("call +1-202-555-0143.", "call [PHONE].");
	expect("(202) 555-0143", "[PHONE]");
	expect("202-555-0143", "[PHONE]");
	expect("1-202-555-0143", "[PHONE]");
	keeps("102-555-0143");
	keeps("202-155-0143");
	expect("020 7946 0958", "[PHONE]");
	expect("030/23125 111", "[PHONE]");
	expect("01 99 00 12 34", "[PHONE]"); /* ARCEP's */
	expect("0049 30 23125111", "[PHONE]");
	expect("+49 (0)30 23125111", "[PHONE]");
	expect("phone 2079460958", "phone [PHONE]");
	keeps("2079460958");
	keeps("01.02.2026 10:30");
	keeps("01/02/2026");
	keeps("0.50 per 1000");
	keeps("+5 points");
}

static void
test_ips(void)
{
	expect("from 192.0.2.17.", "from [IP].");
	expect("192.0.2.17:443", "[IP]:443");
	expect("2001:db8::1", "[IP]");
	expect("[2001:db8:0:0:8:800:200c:417a]:443", "[[IP]]:443");
	expect("::ffff:192.0.2.128", "[IP]");
	expect("fe80::1 up", "[IP] up");
	keeps("256.1.1.1");
	keeps("1.2.3");
	keeps("1.2.3.4.5");
	keeps("v1.2.3.4");
	keeps("01.02.03.04");
	keeps("12:30:45");
	keeps("00:1b:44:11:3a:b7");
	keeps("std::vector");
	keeps("1::2::3");
}

/* Tracks: the layout of ISO/IEC 7813 around a test number. */
static void
test_card_secrets(void)
{
	expect(";4111111111111111=30121010000012300000?", "[TRACK]");
	expect("4111111111111111=30121010000012300000", "[TRACK]");
	expect("4111111111111111D30121010000012300000F", "[TRACK]");
	expect("%B4111111111111111^DOE/JANE^3012101000000000?", "[TRACK]");
	expect("swiped %B4111111111111111^DOE/JANE             ^3012101? ok",
		   "swiped [TRACK] ok");
	keeps(";4111111111111112=30121010000012300000?");
	expect("4111111111111111=5", "[PAN]=5");
	expect("cvv 123", "[CVV]");
	expect("CVV2: 1234", "[CVV]");
	expect("cvc=123;", "[CVV];");
	expect("cvv code is 123", "[CVV]");
	expect("the security code is 123.", "the [CVV].");
	expect("ＣＶＶ １２３", "[CVV]");
	keeps("cvv 12");
	keeps("cvv 12345");
	keeps("cvv check passed");
	expect("4111 1111 1111 1111 12/27 cvv 123", "[PAN] 12/27 [CVV]");
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
		"192.168.1",
		"+49 17",
		"12:30:45",
		"sku-4711 x2",
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

		check(once <= 50000 * 80 && thrice <= once * 3 + 3000,
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
		check(counts.steps <= n * 80, "linear on an endless gap: %zu steps",
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
	test_ids();
	test_phones();
	test_ips();
	test_card_secrets();
	test_mixed();
	test_quick_scan();
	test_invalid_utf8();
	test_linear();
	test_random();
	return tap_done();
}
