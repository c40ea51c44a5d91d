/* What Ulfius asks for is there while malloc() fails, and nothing of it is lost or given twice. */
#include "../../unit.h"

#include <malloc.h>
#include <orcania.h> /* here, as it has a word to say about malloc */

static bool starved;

static void *malloc_or_not(size_t size)
{
	return starved ? NULL : malloc(size);
}

static void *realloc_or_not(void *memory, size_t size)
{
	return starved ? NULL : realloc(memory, size);
}

#define malloc malloc_or_not
#define realloc realloc_or_not
#include "api/http/spare.c"
#undef malloc
#undef realloc

static int feed(void **state)
{
	starved = false;
	return 0;
}

static void test_blocks_are_distinct_and_come_back(void **state)
{
	static unsigned char *blocks[SPARE_SMALL_COUNT + SPARE_LARGE_COUNT];
	const size_t all = SPARE_SMALL_COUNT + SPARE_LARGE_COUNT;

	starved = true;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < all; i++) {
			blocks[i] = spare_malloc(SPARE_SMALL); /* the last ones are large */
			assert_non_null(blocks[i]);
			memset(blocks[i], (int)(i % 251), SPARE_SMALL);
		}
		assert_null(spare_malloc(1));
		assert_null(spare_malloc(SPARE_LARGE));
		for (size_t i = 0; i < all; i++) {
			assert_int_equal(blocks[i][0], i % 251);
			assert_int_equal(blocks[i][SPARE_SMALL - 1], i % 251);
			spare_free(blocks[i]);
		}
		assert_false(spare_is_low());
	}
}

static void test_it_is_low_when_a_quarter_of_one_size_is_taken(void **state)
{
	static void *blocks[SPARE_LARGE_COUNT / 4];

	starved = true;
	for (size_t i = 0; i < SPARE_LARGE_COUNT / 4; i++) {
		assert_false(spare_is_low());
		blocks[i] = spare_malloc(SPARE_SMALL + 1);
	}
	assert_true(spare_is_low());
	spare_free(blocks[0]);
	assert_false(spare_is_low());
	for (size_t i = 1; i < SPARE_LARGE_COUNT / 4; i++)
		spare_free(blocks[i]);
}

static void test_what_is_larger_fails_and_costs_nothing(void **state)
{
	starved = true;
	assert_null(spare_malloc(SPARE_LARGE + 1));
	assert_false(spare_is_low());
}

static void test_contents_move_between_malloc_and_the_spare(void **state)
{
	char *text = spare_malloc(6);
	assert_non_null(text);
	memcpy(text, "12345", 6);
	starved = true;
	text = spare_realloc(text, 7); /* out of malloc()'s memory into a small block */
	assert_string_equal(text, "12345");
	text = spare_realloc(text, SPARE_SMALL);
	assert_string_equal(text, "12345");
	text = spare_realloc(text, SPARE_LARGE);
	assert_string_equal(text, "12345");
	assert_null(spare_realloc(text, SPARE_LARGE + 1)); /* as with realloc(), it is still there */
	assert_string_equal(text, "12345");
	starved = false;
	text = spare_realloc(text, SPARE_LARGE + 1);
	assert_string_equal(text, "12345");
	spare_free(text);
	starved = true;
	assert_false(spare_is_low());
	text = spare_realloc(NULL, 8);
	assert_non_null(text);
	spare_free(text);
	spare_free(NULL);
}

#define SET_UP feed
#define TEAR_DOWN feed
