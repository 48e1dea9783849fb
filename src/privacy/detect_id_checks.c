/*-------------------------------------------------------------------------
 * detect_id_checks.c
 *		Whether letters and digits of the right form are a state's number.
 *
 * Sources: the published rule of each number's issuer, named beside it;
 * ISO/IEC 7064 for its check systems.
 *-------------------------------------------------------------------------
 */
#include "privacy/detect_id_checks.h"

#include <stdint.h>
#include <string.h>

#include "privacy/fold.h"

/* The number that n digits from at on are. */
static int64_t
number(const char *id, int at, int n)
{
	int64_t value = 0;

	for (int i = 0; i < n; i++)
		value = value * 10 + (id[at + i] - '0');
	return value;
}

/* The sum of the digits by these weights. */
static int
weighted(const char *id, const int *weights, int n)
{
	int sum = 0;

	for (int i = 0; i < n; i++)
		sum += (id[i] - '0') * weights[i];
	return sum;
}

static bool
luhn(const char *id, int n)
{
	int sum = 0;

	for (int i = 0; i < n; i++)
	{
		int value = id[n - 1 - i] - '0';

		if (i % 2 == 1)
			value = value < 5 ? value * 2 : value * 2 - 9;
		sum += value;
	}
	return sum % 10 == 0;
}

static bool
is_date(int month, int day)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
}

static bool
all_equal(const char *id)
{
	return strspn(id, (char[]){id[0], '\0'}) == strlen(id);
}

/* Social Security Administration, since 2011: no area 000, 666, 900 to 999. */
bool
agentpay_id_us_ssn(const char *id)
{
	int area = number(id, 0, 3);

	return area != 0 && area != 666 && area < 900 && number(id, 3, 2) != 0 &&
		   number(id, 5, 4) != 0 && !all_equal(id);
}

/* HMRC, National Insurance Manual NIM39110; it has no check digit. */
bool
agentpay_id_gb_nino(const char *id)
{
	static const char *const unused[] = {"BG", "GB", "KN", "NK",
										 "NT", "TN", "ZZ"};

	for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++)
	{
		if (strncmp(id, unused[i], 2) == 0)
			return false;
	}
	return strchr("DFIQUV", id[0]) == NULL &&
		   strchr("DFIOQUV", id[1]) == NULL && strchr("ABCD", id[8]) != NULL;
}

/* NHS Data Dictionary: modulus 11. */
bool
agentpay_id_gb_nhs(const char *id)
{
	static const int weights[] = {10, 9, 8, 7, 6, 5, 4, 3, 2};
	int check = (11 - weighted(id, weights, 9) % 11) % 11;

	return check == id[9] - '0' && !all_equal(id);
}

/*
 * Federal Central Tax Office: ISO/IEC 7064 MOD 11,10; of the first ten digits
 * one occurs two or three times, the others at most once.
 */
bool
agentpay_id_de_tin(const char *id)
{
	int counts[10] = {0};
	int repeated = 0;
	int product = 10;

	for (int i = 0; i < 10; i++)
	{
		int sum = (id[i] - '0' + product) % 10;

		product = (sum == 0 ? 10 : sum) * 2 % 11;
		counts[id[i] - '0']++;
	}
	for (int i = 0; i < 10; i++)
	{
		if (counts[i] > 3)
			return false;
		repeated += counts[i] > 1;
	}
	return id[0] != '0' && repeated == 1 && (11 - product) % 10 == id[10] - '0';
}

/* INSEE: key 97 - n mod 97; 2A and 2B of Corsica count as 19 and 18. */
bool
agentpay_id_fr_nir(const char *id)
{
	char digits[16];
	int64_t rest;
	int month;

	memcpy(digits, id, 16);
	if (id[5] == '2' && (id[6] == 'A' || id[6] == 'B'))
	{
		digits[5] = '1';
		digits[6] = id[6] == 'A' ? '9' : '8';
	}
	if (strspn(digits, "0123456789") != 15 || strchr("123478", id[0]) == NULL)
		return false;
	month = number(digits, 3, 2);
	rest = number(digits, 0, 13) % 97;
	return ((month >= 1 && month <= 12) || month >= 20) &&
		   97 - rest == number(digits, 13, 2);
}

/* Decree of 12 March 1974; digits may be letters where two would coincide. */
bool
agentpay_id_it_code(const char *id)
{
	static const int odd[] = {1,  0,  5, 7, 9, 13, 15, 17, 19, 21, 2,  4,  18,
							  20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23};
	static const char substitutes[] = "LMNPQRSTUV";
	static const int digits[] = {6, 7, 9, 10, 12, 13, 14};
	char plain[17];
	int sum = 0;
	int day;

	memcpy(plain, id, 17);
	for (size_t i = 0; i < sizeof(digits) / sizeof(digits[0]); i++)
	{
		char *c = &plain[digits[i]];
		const char *at = strchr(substitutes, *c);

		if (agentpay_fold_is_digit(*c))
			continue;
		if (at == NULL)
			return false;
		*c = '0' + (at - substitutes);
	}
	for (int i = 0; i < 15; i++)
	{
		int value = agentpay_fold_is_digit(id[i]) ? id[i] - '0' : id[i] - 'A';

		sum += i % 2 == 0 ? odd[value] : value;
	}
	day = number(plain, 9, 2);
	return strchr("ABCDEHLMPRST", id[8]) != NULL &&
		   ((day >= 1 && day <= 31) || (day >= 41 && day <= 71)) &&
		   id[15] == 'A' + sum % 26;
}

/* Ministry of the Interior: letter by n mod 23. */
static bool
is_spanish(int64_t n, char letter)
{
	return "TRWAGMYFPDXBNJZSQVHLCKE"[n % 23] == letter;
}

bool
agentpay_id_es_dni(const char *id)
{
	return is_spanish(number(id, 0, 8), id[8]);
}

/* X, Y, Z count as 0, 1, 2. */
bool
agentpay_id_es_nie(const char *id)
{
	return id[0] >= 'X' && id[0] <= 'Z' &&
		   is_spanish((id[0] - 'X') * 10000000 + number(id, 1, 7), id[8]);
}

/* RvIG: the eleven test, with -1 as the last weight. */
bool
agentpay_id_nl_bsn(const char *id)
{
	static const int weights[] = {9, 8, 7, 6, 5, 4, 3, 2, -1};

	return weighted(id, weights, 9) % 11 == 0 && !all_equal(id);
}

/* Ministry of Digital Affairs; 80, 20, 40, 60 on the month by century. */
bool
agentpay_id_pl_pesel(const char *id)
{
	static const int weights[] = {1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1};

	return weighted(id, weights, 11) % 10 == 0 &&
		   is_date(number(id, 2, 2) % 20, number(id, 4, 2));
}

/* Skatteverket SKV 704: Luhn; 60 on the day for coordination numbers. */
bool
agentpay_id_se_number(const char *id)
{
	int day;

	if (strlen(id) == 12)
	{
		int century = number(id, 0, 2);

		if (century < 18 || century > 20)
			return false;
		id += 2;
	}
	day = number(id, 4, 2);
	return is_date(number(id, 2, 2), day > 60 ? day - 60 : day) && luhn(id, 10);
}

/* Digital and Population Data Services Agency: n mod 31. */
bool
agentpay_id_fi_hetu(const char *id)
{
	int64_t n = number(id, 0, 6) * 1000 + number(id, 7, 3);

	return strchr("+-ABCDEFUVWXY", id[6]) != NULL &&
		   is_date(number(id, 2, 2), number(id, 0, 2)) &&
		   "0123456789ABCDEFHJKLMNPRSTUVWXY"[n % 31] == id[10];
}

/* Skatteetaten: two modulus 11 digits; 40 on the day for D numbers. */
bool
agentpay_id_no_number(const char *id)
{
	static const int first[] = {3, 7, 6, 1, 8, 9, 4, 5, 2, 1};
	static const int second[] = {5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1};
	int day = number(id, 0, 2);

	return is_date(number(id, 2, 2), day > 40 ? day - 40 : day) &&
		   weighted(id, first, 10) % 11 == 0 &&
		   weighted(id, second, 11) % 11 == 0;
}

/* Royal Decree of 3 April 1984: 97 - n mod 97; 2 before n since 2000. */
bool
agentpay_id_be_number(const char *id)
{
	int64_t n = number(id, 0, 9);
	int check = number(id, 9, 2);
	int month = number(id, 2, 2) % 20;

	return (check == 97 - n % 97 || check == 97 - (n + 2000000000) % 97) &&
		   is_date(month, number(id, 4, 2));
}

/* Receita Federal: two modulus 11 digits. */
bool
agentpay_id_br_cpf(const char *id)
{
	for (int n = 9; n <= 10; n++)
	{
		int sum = 0;

		for (int i = 0; i < n; i++)
			sum += (id[i] - '0') * (n + 1 - i);
		if (sum * 10 % 11 % 10 != id[n] - '0')
			return false;
	}
	return !all_equal(id);
}

/* UIDAI: Verhoeff's scheme; begins with 2 to 9. */
bool
agentpay_id_in_aadhaar(const char *id)
{
	static const char *const times[] = {"0123456789", "1234067895",
										"2340178956", "3401289567",
										"4012395678", "5987604321",
										"6598710432", "7659821043",
										"8765932104", "9876543210"};
	static const char *const turned[] = {"0123456789", "1576283094",
										 "5803796142", "8916043527",
										 "9453126870", "4286573901",
										 "2793806415", "7046913258"};
	int check = 0;

	for (int i = 0; i < 12; i++)
		check = times[check][turned[i % 8][id[11 - i] - '0'] - '0'] - '0';
	return check == 0 && id[0] >= '2';
}

/* Income Tax Department: the fourth letter says whose it is. */
bool
agentpay_id_in_pan(const char *id)
{
	return strchr("ABCFGHJLPT", id[3]) != NULL && number(id, 5, 4) != 0;
}

/* GB 11643-1999: ISO/IEC 7064 MOD 11-2, and a date of birth. */
bool
agentpay_id_cn_resident(const char *id)
{
	static const int weights[] = {7, 9, 10, 5,	8, 4, 2, 1, 6,
								  3, 7, 9,	10, 5, 8, 4, 2};
	int century = number(id, 6, 2);

	return id[0] >= '1' && id[0] <= '9' && (century == 19 || century == 20) &&
		   is_date(number(id, 10, 2), number(id, 12, 2)) &&
		   "10X98765432"[weighted(id, weights, 17) % 11] == id[17];
}

/* Service Canada: Luhn; none begins with 0. */
bool
agentpay_id_ca_sin(const char *id)
{
	return id[0] != '0' && luhn(id, 9);
}

/* Australian Taxation Office: modulus 11. */
bool
agentpay_id_au_tfn(const char *id)
{
	static const int weights[] = {1, 4, 3, 7, 5, 8, 6, 9, 10};

	return weighted(id, weights, 9) % 11 == 0 && !all_equal(id);
}

/* Autoridade Tributaria: modulus 11. */
bool
agentpay_id_pt_nif(const char *id)
{
	static const int weights[] = {9, 8, 7, 6, 5, 4, 3, 2};
	int rest = weighted(id, weights, 8) % 11;

	return id[0] != '0' && id[8] - '0' == (rest < 2 ? 0 : 11 - rest);
}

/* Central Compensation Office: 756 and EAN-13's check digit. */
bool
agentpay_id_ch_ahv(const char *id)
{
	static const int weights[] = {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1};

	return strncmp(id, "756", 3) == 0 && weighted(id, weights, 13) % 10 == 0;
}

/* Resident Registration Act; those given since October 2020 have no check. */
bool
agentpay_id_kr_rrn(const char *id)
{
	return is_date(number(id, 2, 2), number(id, 4, 2)) && id[6] >= '1' &&
		   id[6] <= '8';
}

/* Immigration and Checkpoints Authority, series S, T, F, G and M. */
bool
agentpay_id_sg_nric(const char *id)
{
	static const int weights[] = {2, 7, 6, 5, 4, 3, 2};
	int sum = weighted(id + 1, weights, 7);

	switch (id[0])
	{
		case 'S':
		case 'T':
			return "JZIHGFEDCBA"[(sum + (id[0] == 'T' ? 4 : 0)) % 11] == id[8];
		case 'F':
		case 'G':
			return "XWUTRQPNMLK"[(sum + (id[0] == 'G' ? 4 : 0)) % 11] == id[8];
		case 'M':
			return "KLJNPQRTUWX"[10 - (sum + 3) % 11] == id[8];
		default:
			return false;
	}
}

/* RENAPO: date of birth, sex, and a check digit over 37 characters. */
bool
agentpay_id_mx_curp(const char *id)
{
	int sum = 0;

	for (int i = 0; i < 17; i++)
	{
		/* the letter with a tilde is between N and O */
		int value = agentpay_fold_is_digit(id[i]) ? id[i] - '0'
					: id[i] <= 'N'				  ? id[i] - 'A' + 10
												  : id[i] - 'A' + 11;

		sum += value * (18 - i);
	}
	return strchr("HMX", id[10]) != NULL &&
		   is_date(number(id, 6, 2), number(id, 8, 2)) &&
		   (10 - sum % 10) % 10 == id[17] - '0';
}

/* Directorate General of Civil Registration: two check digits. */
bool
agentpay_id_tr_tckn(const char *id)
{
	int odd = 0;
	int even = 0;

	for (int i = 0; i < 9; i++)
	{
		if (i % 2 == 0)
			odd += id[i] - '0';
		else
			even += id[i] - '0';
	}
	return id[0] != '0' && ((odd * 7 - even) % 10 + 10) % 10 == id[9] - '0' &&
		   (odd + even + id[9] - '0') % 10 == id[10] - '0';
}

/* CPR Office: a date; since 2007 there are numbers without a check digit. */
bool
agentpay_id_dk_cpr(const char *id)
{
	return is_date(number(id, 2, 2), number(id, 0, 2));
}
