/*-------------------------------------------------------------------------
 * seeds_detect.c
 *		Writes the texts of test/oracle/detect_cases.h into the directory that
 *		its argument names, one a file: what fuzz_detect.c starts from.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "../oracle/detect_cases.h"

int
main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (size_t i = 0; i < sizeof(labelled) / sizeof(labelled[0]); i += 4)
	{
		char name[1024];
		FILE *file;

		snprintf(name, sizeof(name), "%s/%zu", argv[1], i);
		file = fopen(name, "w");
		if (file == NULL)
			return 1;
		fprintf(file, "%s%s%s", labelled[i].before, labelled[i].what,
				labelled[i].after);
		fclose(file);
	}
	return 0;
}
