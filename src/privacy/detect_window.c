/*-------------------------------------------------------------------------
 * detect_window.c
 *		A look ahead from where a word begins, and who looks.
 *
 * A word is looked at once, for a bounded number of characters, so that time
 * is linear in the text's length whatever it holds.
 *-------------------------------------------------------------------------
 */
#include "privacy/detect_window.h"

/* How far from its name a number may stand: words, and characters. */
#define NAMED_WORDS 4

void
agentpay_window_fill(AgentpayWindow *window, const char *text, size_t len,
					 size_t pos, AgentpayDetectCounts *counts)
{
	window->n = 0;
	for (int read = 0; pos < len && window->n < AGENTPAY_WINDOW &&
					   read < AGENTPAY_WINDOW_READ;
		 read++)
	{
		int size = 1;
		int c = (unsigned char) text[pos];

		if (c < 0x20 || c >= 0x7F)
			c = agentpay_fold_char((const unsigned char *) text + pos,
								   len - pos, &size);
		counts->steps++;
		pos += size;
		if (c == FOLD_NOTHING)
			continue;
		window->chars[window->n] = agentpay_fold_upper(c);
		window->ends[window->n++] = pos;
	}
	window->chars[window->n] = 0;
}

bool
agentpay_next_word(AgentpayWords *words, size_t *start, AgentpayWindow *window,
				   AgentpayDetectCounts *counts)
{
	while (words->pos < words->len)
	{
		int size;
		int c = agentpay_fold_char((const unsigned char *) words->text +
									   words->pos,
								   words->len - words->pos, &size);
		bool begins = (agentpay_is_alnum(c) ||
					   (c >= 0x20 && strchr(words->also, c) != NULL)) &&
					  !agentpay_is_alnum(words->before);

		counts->steps++;
		window->before = words->before;
		window->before2 = words->before2;
		*start = words->pos;
		words->pos += size;
		if (c == FOLD_NOTHING)
			continue;
		words->before2 = words->before;
		words->before = agentpay_fold_upper(c);
		if (begins)
		{
			window->chars[0] = words->before;
			return true;
		}
	}
	return false;
}

/* Whether the window begins with a word that says that a number is one to
 * call. */
static bool
names_phone(const AgentpayWindow *window)
{
	static const char *const names[] = {"TEL",		"TELEFON",	 "TELEFONE",
										"TELEFONO", "TELEPHONE", "PHONE",
										"MOBILE",	"MOBIL",	 "CELL",
										"HANDY",	"WHATSAPP",	 "FAX",
										"CALL",		"SMS"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		size_t length = strlen(names[i]);

		if (memcmp(window->chars, names[i],
				   length < (size_t) window->n ? length : window->n) == 0 &&
			length <= (size_t) window->n &&
			!agentpay_is_alnum(window->chars[length]))
			return true;
	}
	return false;
}

size_t
agentpay_detect_people(char *text, size_t len, AgentpayDetectCounts *counts)
{
	AgentpayCut cut = {text, 0, 0};
	AgentpayWords words = {text, len, 0, "+(:", 0, 0};
	AgentpayWindow window;
	size_t start;
	int id = -1; /* what was named, */
	bool phone = false;
	int ago = NAMED_WORDS; /* and so many words ago */

	while (agentpay_next_word(&words, &start, &window, counts))
	{
		const char *tag = "[ID]";
		int n;
		bool tag_of_ours = window.before == '[';
		int named;
		bool is_phone;

		agentpay_window_fill(&window, text, len, start, counts);
		named = tag_of_ours ? -1 : agentpay_id_named(&window);
		is_phone = !tag_of_ours && names_phone(&window);
		if (named >= 0 || is_phone)
		{
			id = named;
			phone = is_phone;
			ago = 0;
			continue;
		}
		if (ago++ >= NAMED_WORDS)
		{
			id = -1;
			phone = false;
		}
		n = agentpay_match_id(&window, id);
		if (n > 0)
			counts->ids++;
		else if ((n = agentpay_match_ip(&window)) > 0)
		{
			tag = "[IP]";
			counts->ips++;
		}
		else if ((n = agentpay_match_phone(&window, phone)) > 0)
		{
			tag = "[PHONE]";
			counts->phones++;
		}
		else
			continue;
		agentpay_cut_out(&cut, start, window.ends[n - 1], tag);
		agentpay_words_skip(&words, window.ends[n - 1]);
		id = -1;
		phone = false;
	}
	return agentpay_cut_end(&cut, len);
}
