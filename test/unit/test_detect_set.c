/*-------------------------------------------------------------------------
 * test_detect_set.c
 *		How much detection finds, and how much it takes for what it is not.
 *
 * The texts, their labels and where they come from: test/oracle/detect.py.
 * A positive is found when the value is gone and exactly its text's
 * surroundings and a tag of its kind are left.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "../oracle/detect_cases.h"
#include "privacy/detect.h"
#include "tap.h"

#define N (sizeof(labelled) / sizeof(labelled[0]))

static const char *const kinds[] = {"PAN", "IBAN",	"EMAIL", "TRACK",
									"CVV", "PHONE", "IP",	 "ID"};

/* Least shares that are found, in the order of kinds. */
static const double least[] = {1, 1, 1, 1, 1, 0.95, 1, 0.97};

/* The text after detection, in memory that the next call reuses. */
static const char *
detect(const char *before, const char *what, const char *after)
{
	static char out[1000];
	char text[400];
	size_t n;

	snprintf(text, sizeof(text), "%s%s%s", before, what, after);
	n = agentpay_detect_redact(text, strlen(text), out, NULL);
	out[n] = '\0';
	if (strcmp(out, text) != 0)
		check(agentpay_detect_suspicious(text, strlen(text)),
			  "the quick scan lets no %s through", what);
	return out;
}

/*
 * Whether the value is gone, and what stood around it is left.  A name before
 * a number may stay ("SSN [ID]").
 */
static bool
found(size_t i)
{
	const char *out = detect(labelled[i].before, labelled[i].what,
							 labelled[i].after);
	char tag[20];

	snprintf(tag, sizeof(tag), "[%s]%s", labelled[i].kind, labelled[i].after);
	return strncmp(out, labelled[i].before, strlen(labelled[i].before)) == 0 &&
		   strlen(out) >= strlen(tag) &&
		   strcmp(out + strlen(out) - strlen(tag), tag) == 0;
}

static void
test_recall(void)
{
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		int all = 0;
		int hits = 0;

		for (size_t i = 0; i < N; i++)
		{
			if (strcmp(labelled[i].kind, kinds[k]) != 0)
				continue;
			all++;
			if (found(i))
				hits++;
			else
				printf("# missed: %s%s%s -> %s\n", labelled[i].before,
					   labelled[i].what, labelled[i].after,
					   detect(labelled[i].before, labelled[i].what,
							  labelled[i].after));
		}
		check(all > 0 && hits >= least[k] * all, "recall of %s: %d of %d",
			  kinds[k], hits, all);
	}
}

static void
test_precision(void)
{
	int negatives = 0;
	int wrong = 0;
	int right = 0;

	for (size_t i = 0; i < N; i++)
	{
		if (labelled[i].kind[0] != '\0')
		{
			right += found(i);
			continue;
		}
		negatives++;
		if (strstr(detect(labelled[i].before, labelled[i].what,
						  labelled[i].after),
				   labelled[i].what) != NULL)
			continue;
		wrong++;
		printf("# taken: %s -> %s\n", labelled[i].what,
			   detect("", labelled[i].what, ""));
	}
	check(negatives >= 500 && wrong <= negatives * 0.03,
		  "%d of %d texts about nobody are touched", wrong, negatives);
	check(right > 0 && right >= 0.95 * (right + wrong), "precision: %.3f",
		  (double) right / (right + wrong));
}

int
main(void)
{
	test_recall();
	test_precision();
	return tap_done();
}
