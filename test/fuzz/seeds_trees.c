/*-------------------------------------------------------------------------
 * seeds_trees.c
 *		Writes the models of test/oracle/trees_cases.h into the directory
 *		that its argument names, one a file: what fuzz_trees.c starts from.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>

#include "scoring/trees.h"
#include "../oracle/trees_cases.h"

int
main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (size_t i = 0; i < sizeof(trees_cases) / sizeof(trees_cases[0]); i++)
	{
		char name[1024];
		FILE *file;

		snprintf(name, sizeof(name), "%s/%s.json", argv[1],
				 trees_cases[i].name);
		file = fopen(name, "w");
		if (file == NULL ||
			fwrite(trees_cases[i].text, 1, trees_cases[i].len, file) !=
				trees_cases[i].len ||
			fclose(file) != 0)
			return 1;
	}
	return 0;
}
