/*-------------------------------------------------------------------------
 * detect_ids.c
 *		Numbers that states give to people.
 *
 * Each is a form and a check.  Where form and check let through more than
 * about one in a hundred of other numbers, as with plain digits under one
 * check digit, it is taken only after its name (SSN, BSN, ...).
 *
 * The checks, with their sources, are in detect_id_checks.c.
 *-------------------------------------------------------------------------
 */
#include "privacy/detect_id_checks.h"
#include "privacy/detect_window.h"

/* What a number is called where it needs its name. */
typedef enum Name
{
	NONE = -1, /* it needs none */
	SSN,
	NHS,
	TIN,
	BSN,
	PESEL,
	CPF,
	AADHAAR,
	SIN,
	TFN,
	NIF,
	TCKN,
	CPR
} Name;

static const struct
{
	const char *word;
	Name name;
} words[] = {
	{"SSN", SSN},
	{"SOCIAL SECURITY", SSN},
	{"NHS", NHS},
	{"STEUER", TIN}, /* also Steuer-ID, Steueridentifikationsnummer */
	{"IDNR", TIN},
	{"TAX ID", TIN},
	{"TIN", TIN},
	{"BSN", BSN},
	{"BURGERSERVICENUMMER", BSN},
	{"SOFINUMMER", BSN},
	{"PESEL", PESEL},
	{"CPF", CPF},
	{"AADHAAR", AADHAAR},
	{"AADHAR", AADHAAR},
	{"UIDAI", AADHAAR},
	{"SIN", SIN},
	{"NAS", SIN},
	{"TFN", TFN},
	{"NIF", NIF},
	{"TCKN", TCKN},
	{"TC KIMLIK", TCKN},
	{"CPR", CPR},
};

/*
 * Forms: d a digit, A a letter, X either; s an optional space or dash, - a
 * dash, _ a space or dash, . a dot, / a dash, + or letter of a century.
 */
typedef struct Form
{
	const char *form;
	bool (*check)(const char *id);
	Name name;
} Form;

static const Form forms[] = {
	{"ddd_dd_dddd", agentpay_id_us_ssn, NONE},
	{"ddddddddd", agentpay_id_us_ssn, SSN},
	{"AAsddsddsddsA", agentpay_id_gb_nino, NONE},
	{"dddsdddsdddd", agentpay_id_gb_nhs, NHS},
	{"dd_ddd_ddd_ddd", agentpay_id_de_tin, NONE},
	{"ddddddddddd", agentpay_id_de_tin, TIN},
	{"dsddsddsXXsdddsdddsdd", agentpay_id_fr_nir, NONE},
	{"AAAAAAXXAXXAXXXA", agentpay_id_it_code, NONE},
	{"ddddddddsA", agentpay_id_es_dni, NONE},
	{"AsdddddddsA", agentpay_id_es_nie, NONE},
	{"ddddsddsddd", agentpay_id_nl_bsn, BSN},
	{"ddddddddd", agentpay_id_nl_bsn, BSN},
	{"ddddddddddd", agentpay_id_pl_pesel, PESEL},
	{"dddddd-dddd", agentpay_id_se_number, NONE},
	{"dddddddd-dddd", agentpay_id_se_number, NONE},
	{"dddddd/dddX", agentpay_id_fi_hetu, NONE},
	{"ddddddsddddd", agentpay_id_no_number, NONE},
	{"dd.dd.dd-ddd.dd", agentpay_id_be_number, NONE},
	{"dd_dd_dd_ddd_dd", agentpay_id_be_number, NONE},
	{"ddddddddddd", agentpay_id_be_number, NONE},
	{"ddd.ddd.ddd-dd", agentpay_id_br_cpf, NONE},
	{"ddddddddddd", agentpay_id_br_cpf, CPF},
	{"dddd_dddd_dddd", agentpay_id_in_aadhaar, NONE},
	{"dddddddddddd", agentpay_id_in_aadhaar, AADHAAR},
	{"AAAAAddddA", agentpay_id_in_pan, NONE},
	{"dddddddddddddddddX", agentpay_id_cn_resident, NONE},
	{"dddsdddsddd", agentpay_id_ca_sin, SIN},
	{"dddsdddsddd", agentpay_id_au_tfn, TFN},
	{"dddsdddsddd", agentpay_id_pt_nif, NIF},
	{"ddd.dddd.dddd.dd", agentpay_id_ch_ahv, NONE},
	{"ddddddddddddd", agentpay_id_ch_ahv, NONE},
	{"dddddd-ddddddd", agentpay_id_kr_rrn, NONE},
	{"AdddddddA", agentpay_id_sg_nric, NONE},
	{"AAAAddddddAAAAAAXd", agentpay_id_mx_curp, NONE},
	{"ddddddddddd", agentpay_id_tr_tckn, TCKN},
	{"ddddddsdddd", agentpay_id_dk_cpr, CPR},
};

int
agentpay_id_named(const AgentpayWindow *window)
{
	const char *c = (const char *) window->chars;

	if (!agentpay_fold_is_letter(c[0]))
		return NONE;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		size_t length = strlen(words[i].word);

		if (c[0] == words[i].word[0] &&
			strncmp(c, words[i].word, length) == 0 &&
			(!agentpay_is_alnum(c[length]) || words[i].name == TIN))
			return words[i].name;
	}
	return NONE;
}

/*
 * The characters that have the form; 0 if they have not.  Stores the letters
 * and digits among them, terminated.
 */
static int
match_form(const unsigned char *c, const char *form, char *id)
{
	int at = 0;

	for (; *form != '\0'; form++)
	{
		bool digit = agentpay_fold_is_digit(c[at]);
		bool letter = agentpay_fold_is_letter(c[at]);
		bool dash = c[at] == '-' || c[at] == ' ';
		bool takes = false; /* into id */

		switch (*form)
		{
			case 's':
				at += dash;
				continue;
			case '_':
				if (!dash)
					return 0;
				break;
			case '/':
				if (!letter && c[at] != '-' && c[at] != '+')
					return 0;
				takes = true;
				break;
			case 'd':
			case 'A':
			case 'X':
				if (!(*form == 'd'	 ? digit
					  : *form == 'A' ? letter
									 : digit || letter))
					return 0;
				takes = true;
				break;
			default:
				if (c[at] != *form)
					return 0;
		}
		if (takes)
			*id++ = c[at];
		at++;
	}
	*id = '\0';
	return at;
}

/* Whether the number goes on behind what has its form. */
static bool
goes_on(const unsigned char *c)
{
	return agentpay_is_alnum(c[0]) ||
		   (c[0] != 0 && strchr("-./:_@=", c[0]) != NULL &&
			agentpay_is_alnum(c[1])) ||
		   (c[0] == ' ' && agentpay_fold_is_digit(c[1]) &&
			agentpay_fold_is_digit(c[2]) && agentpay_fold_is_digit(c[3]) &&
			agentpay_fold_is_digit(c[4]));
}

int
agentpay_match_id(const AgentpayWindow *window, int named)
{
	const unsigned char *c = window->chars;
	char id[AGENTPAY_WINDOW];

	if (!agentpay_fold_is_digit(c[0]) && !agentpay_fold_is_letter(c[0]))
		return 0;
	if (window->before != 0 && strchr("-./:_@=+", window->before) != NULL &&
		agentpay_is_alnum(window->before2) && named < 0)
		return 0;
	if (window->before == '+')
		return 0;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
	{
		int n;

		if (forms[i].name != NONE && (int) forms[i].name != named)
			continue;
		n = match_form(c, forms[i].form, id);
		if (n > 0 && !goes_on(c + n) && forms[i].check(id))
			return n;
	}
	return 0;
}
