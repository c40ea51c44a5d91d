/*
 * The silo document. A silo that is accepted is what its canonical text says, for each of the readers: the strict one,
 * the one for a hub's answers, and the one that reads canonical text only. Strict is stricter. Whether a text is
 * canonical or not decides nothing about whether it is accepted.
 */
#include "../lib/fuzz.h"

#include "common/hub/silo.h"

static int count_difference(void *arg, const struct record *record, bool removed)
{
	(void)record;
	(void)removed;
	++*(size_t *)arg;
	return 0;
}

/* By the JSON library: what ends in a blank is not canonical. */
static int parse_spaced(const char *text, size_t size, struct silo *ret_silo)
{
	char *spaced = fuzz_string(text, size);

	spaced[size] = ' ';
	int err = silo_parse(spaced, size + 1, NULL, NULL, ret_silo, NULL);
	free(spaced);
	return err;
}

static void check_silo(const struct silo *silo)
{
	char name[HOSTNAME_LEN_MAX + 1], *json;
	struct silo again = {0}, canonical = {0}, empty = {0};
	size_t len, differences = 0;

	FUZZ_CHECK(silo_id_check(silo->id, strlen(silo->id), NULL) == ERR_OK && silo->count <= SILO_RECORDS_MAX);
	for (size_t i = 0; i < silo->count; i++) {
		const char *hostname = silo->records[i].hostname;
		FUZZ_CHECK(hostname_parse(hostname, strlen(hostname), name, NULL) == ERR_OK &&
			   strcmp(hostname, name) == 0);
		FUZZ_CHECK(i == 0 || strcmp(silo->records[i - 1].hostname, hostname) < 0 ||
			   ipaddr_compare(&silo->records[i - 1].ip, &silo->records[i].ip) < 0);
	}
	FUZZ_CHECK(silo_to_json(silo, &json, &len) == ERR_OK && strlen(json) == len);
	FUZZ_CHECK(parse_spaced(json, len, &again) == ERR_OK);
	FUZZ_CHECK(silo_read_canonical(json, strlen(json), &canonical) == ERR_OK);
	FUZZ_CHECK(silo_equal(silo, &again) && silo_equal(silo, &canonical));
	FUZZ_CHECK(strcmp(silo->id, again.id) == 0 && strcmp(silo->id, canonical.id) == 0);
	FUZZ_CHECK(silo_diff(silo, &again, count_difference, &differences) == 0 && differences == 0);
	FUZZ_CHECK(silo_diff(&empty, silo, count_difference, &differences) == 0 && differences == silo->count);
	silo_release(&again);
	silo_release(&canonical);
	free(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ipaddr here = {.family = 4, .bytes = {192, 0, 2, 1}};
	const char *text = (const char *)data;
	struct silo silo = {0}, answer = {0}, same = {0}, spaced = {0};
	struct why why = {.text = ""};
	int err = silo_parse(text, size, NULL, NULL, &silo, &why);

	FUZZ_CHECK(parse_spaced(text, size, &spaced) == err);
	FUZZ_CHECK(strcmp(silo.id, spaced.id) == 0 && silo_equal(&silo, &spaced));
	silo_release(&spaced);
	FUZZ_CHECK(err == ERR_OK || ((err == ERR_MALFORMED || err == ERR_INVALID) && why.text[0] && !silo.records));
	if (!err) {
		check_silo(&silo);
		FUZZ_CHECK(silo_parse_answer(text, size, silo.id, &answer, NULL) == ERR_OK &&
			   silo_equal(&silo, &answer));
		FUZZ_CHECK(silo_parse(text, size, NULL, &here, &same, NULL) == ERR_OK && silo_equal(&silo, &same));
		silo_release(&answer);
		silo_release(&same);
	}
	if (silo_parse_answer(text, size, NULL, &answer, NULL) == ERR_OK)
		check_silo(&answer);
	if (silo_parse(text, size, "a", &here, &same, NULL) == ERR_OK)
		check_silo(&same);
	silo_release(&silo);
	silo_release(&answer);
	silo_release(&same);
	return 0;
}
